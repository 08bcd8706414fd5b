// Set-up for `npm start`, `npm test`, `npm run check` and `npm run bench`: dependencies, SoftHSM, the token.
// Runs before there is anything installed, on whatever node the machine has; does nothing when all is there.
const oldestMajor = 18;

if (Number(process.versions.node.split('.')[0]) < oldestMajor) {
  process.stderr.write(
    'set-up: this is Node ' +
      process.versions.node +
      ', and npm needs ' +
      oldestMajor +
      ' or later to install Node 24 for this project.\n' +
      'What to do next: install Node 24 (https://nodejs.org, `brew install node@24`, `nvm install 24`).\n',
  );
  process.exitCode = 1;
} else {
  void import('./steps.js').then((steps) => steps.run());
}
