/** A set-up that cannot go on, and what the reader can do about it. */
export class SetupError extends Error {
  constructor(problem, whatNext) {
    super(problem);
    this.whatNext = whatNext;
  }
}

/** Progress goes to stderr: stdout belongs to the program that starts afterwards. */
export function say(text) {
  process.stderr.write(`set-up: ${text}\n`);
}
