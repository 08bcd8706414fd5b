// Preloaded into the service and its children, this tells what of a folder would be on the disk if the power
// failed now, and kills their process group before or after any one durable step.
//
// The model is POSIX to the letter: what a file holds lasts from the fsync or fdatasync that followed (or the
// write, of a descriptor opened O_DSYNC), a name from the fsync of its directory. Each sync is written to a
// journal with what it made durable; what is not there was in the page cache only. So nothing has to be known
// of writes, and those of stdio, which no preloaded function sees, are covered too.
// Nothing is synced for real: the process ends, not the machine.
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { BEFORE = 1, AFTER = 2 };

// Shared with the test, which arms a kill by it while the processes run.
static struct control {
  uint32_t steps;    // taken so far, by all processes
  uint32_t kill_at;  // the step to die at; 0: never
  uint32_t moment;   // BEFORE or AFTER
} *control;

// What one journal record begins with; the label and the payload follow.
struct record {
  uint32_t kind;  // 'F' whole file, 'W' range, 'D' listing, 'B' a new inode, 'N' nothing durable, 'K' killed
  uint32_t step;
  uint64_t inode, offset;
  uint32_t label_bytes, payload_bytes;
};

static const char *root;
static size_t root_bytes;
static const char *lie;  // syncs of paths that contain this, or with a $ end in it, are answered and not made
static int journal = -1;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static char label[4200];

#define REAL(name) \
  static __typeof__(&name) real; \
  if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

static ssize_t real_write(int fd, const void *bytes, size_t count) {
  static ssize_t (*real)(int, const void *, size_t);
  if (!real) real = (ssize_t(*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
  return real(fd, bytes, count);
}

static int real_open(const char *path, int flags, mode_t mode) {
  static int (*real)(const char *, int, ...);
  if (!real) real = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open");
  return real(path, flags, mode);
}

static void fail(const char *what) {
  dprintf(2, "unsynced: %s: %s\n", what, strerror(errno));
  _exit(99);
}

__attribute__((constructor)) static void begin(void) {
  const char *folder = getenv("UNSYNCED_JOURNAL"), *shared = getenv("UNSYNCED_CONTROL");
  root = getenv("UNSYNCED_ROOT");
  lie = getenv("UNSYNCED_LIE");
  if (!root || !folder || !shared) return;
  root_bytes = strlen(root);
  journal = real_open(folder, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
  int fd = real_open(shared, O_RDWR | O_CLOEXEC, 0600);
  if (journal < 0 || fd < 0) fail("cannot open journal or control");
  control = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (control == MAP_FAILED) fail("mmap");
  close(fd);
}

static int below(const char *path) {
  return journal >= 0 && path && strncmp(path, root, root_bytes) == 0 && (path[root_bytes] == '/' || !path[root_bytes]);
}

// True, with its path, for a descriptor of something below the root.
static int path_of(int fd, char path[4096]) {
  if (journal < 0) return 0;
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t bytes = readlink(link, path, 4095);
  if (bytes <= 0) return 0;
  path[bytes] = 0;
  return below(path);
}

static int lied_about(const char *path) {
  if (!lie) return 0;
  size_t bytes = strlen(lie), whole = strlen(path);
  if (lie[bytes - 1] != '$') return strstr(path, lie) != NULL;
  return whole >= bytes - 1 && strncmp(path + whole - (bytes - 1), lie, bytes - 1) == 0;
}

static void publish(uint32_t kind, uint32_t step, uint64_t inode, uint64_t offset, const void *payload, size_t bytes) {
  struct record head = {kind, step, inode, offset, (uint32_t)strlen(label), (uint32_t)bytes};
  size_t whole = sizeof head + head.label_bytes + bytes;
  char *all = malloc(whole);
  if (!all) fail("memory");
  memcpy(all, &head, sizeof head);
  memcpy(all + sizeof head, label, head.label_bytes);
  if (bytes) memcpy(all + sizeof head + head.label_bytes, payload, bytes);
  if (real_write(journal, all, whole) != (ssize_t)whole) fail("journal");
  free(all);
}

// Everybody at once, as the power would; nobody gets past a step meanwhile, the lock is held.
static void die_if(uint32_t step, uint32_t moment) {
  if (control->kill_at != step || control->moment != moment) return;
  publish('K', step, 0, moment, NULL, 0);
  kill(0, SIGKILL);
  for (;;) pause();
}

static uint32_t enter(const char *call, const char *path) {
  int error = errno;
  pthread_mutex_lock(&mutex);
  while (flock(journal, LOCK_EX) != 0 && errno == EINTR) {}
  snprintf(label, sizeof label, "%s %s", call, path + root_bytes);
  uint32_t step = ++control->steps;
  die_if(step, BEFORE);
  errno = error;
  return step;
}

static void leave(uint32_t step) {
  int error = errno;
  die_if(step, AFTER);
  flock(journal, LOCK_UN);
  pthread_mutex_unlock(&mutex);
  errno = error;
}

static void publish_file(uint32_t step, int fd, const struct stat *st) {
  // Read by the same descriptor where it can be: closing another one drops the process's POSIX locks.
  int own = -1;
  if ((fcntl(fd, F_GETFL) & O_ACCMODE) == O_WRONLY) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    own = real_open(link, O_RDONLY | O_CLOEXEC, 0);
    if (own < 0) fail("reading back");
  }
  char *content = malloc(st->st_size + 1);
  if (!content) fail("memory");
  size_t have = 0;
  for (ssize_t got; have < (size_t)st->st_size; have += got) {
    got = pread(own < 0 ? fd : own, content + have, st->st_size - have, have);
    if (got <= 0) break;
  }
  if (own >= 0) close(own);
  publish('F', step, st->st_ino, 0, content, have);
  free(content);
}

static void publish_listing(uint32_t step, int fd, const struct stat *st) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  DIR *directory = opendir(link);
  size_t used = 0, room = 1 << 16;
  char *listing = malloc(room);
  if (!directory || !listing) fail("listing");
  for (struct dirent *entry; (entry = readdir(directory));) {
    uint16_t bytes = strlen(entry->d_name);
    if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
    if (used + bytes + 11 > room && !(listing = realloc(listing, room *= 2))) fail("memory");
    uint64_t inode = entry->d_ino;
    memcpy(listing + used, &inode, 8);
    listing[used + 8] = entry->d_type == DT_DIR;
    memcpy(listing + used + 9, &bytes, 2);
    memcpy(listing + used + 11, entry->d_name, bytes);
    used += 11 + bytes;
  }
  closedir(directory);
  publish('D', step, st->st_ino, 0, listing, used);
  free(listing);
}

static int sync_of(const char *call, int fd, int (*real)(int)) {
  char path[4096];
  struct stat st;
  if (!path_of(fd, path) || fstat(fd, &st) != 0) return real(fd);
  uint32_t step = enter(call, path);
  if (!lied_about(path)) {
    if (S_ISDIR(st.st_mode)) publish_listing(step, fd, &st);
    else if (fstat(fd, &st) == 0) publish_file(step, fd, &st);
  } else publish('N', step, 0, 0, NULL, 0);
  leave(step);
  return 0;
}

int fsync(int fd) {
  REAL(fsync);
  return sync_of("fsync", fd, real);
}

int fdatasync(int fd) {
  REAL(fdatasync);
  return sync_of("fdatasync", fd, real);
}

// A write is a step where it is durable by itself.
#define DURABLE_WRITE(fd, call, offset_after) \
  char path[4096]; \
  int flags = journal < 0 ? 0 : fcntl(fd, F_GETFL); \
  if (flags < 0 || !(flags & O_DSYNC) || !path_of(fd, path)) return call; \
  uint32_t step = enter("write", path); \
  ssize_t written = call; \
  if (written > 0 && !lied_about(path)) publish_range(step, fd, (offset_after) - written, written); \
  else publish('N', step, 0, 0, NULL, 0); \
  leave(step); \
  return written

static void publish_range(uint32_t step, int fd, off_t offset, size_t bytes) {
  struct stat st;
  char *content = malloc(bytes);
  if (!content || fstat(fd, &st) != 0 || pread(fd, content, bytes, offset) != (ssize_t)bytes) fail("reading back");
  publish('W', step, st.st_ino, offset, content, bytes);
  free(content);
}

ssize_t write(int fd, const void *bytes, size_t count) {
  DURABLE_WRITE(fd, real_write(fd, bytes, count), lseek(fd, 0, SEEK_CUR));
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
  REAL(writev);
  DURABLE_WRITE(fd, real(fd, parts, count), lseek(fd, 0, SEEK_CUR));
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t offset) {
  REAL(pwrite64);
  // Linux appends with O_APPEND, whatever the offset.
  DURABLE_WRITE(fd, real(fd, bytes, count, offset), flags & O_APPEND ? lseek(fd, 0, SEEK_END) : offset + written);
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t offset) { return pwrite64(fd, bytes, count, offset); }

// Names come and go: nothing of it is durable by itself, and a process may be killed before and after each.
#define NAME_STEP(call, path, work) \
  if (!below(path)) return work; \
  uint32_t step = enter(call, path); \
  __typeof__(work) result = work; \
  publish('N', step, 0, 0, NULL, 0); \
  leave(step); \
  return result

int unlink(const char *path) {
  REAL(unlink);
  NAME_STEP("unlink", path, real(path));
}

int remove(const char *path) {
  REAL(remove);
  NAME_STEP("remove", path, real(path));
}

int rmdir(const char *path) {
  REAL(rmdir);
  NAME_STEP("rmdir", path, real(path));
}

int rename(const char *from, const char *to) {
  REAL(rename);
  NAME_STEP("rename", to, real(from, to));
}

int link(const char *from, const char *to) {
  REAL(link);
  NAME_STEP("link", to, real(from, to));
}

int ftruncate64(int fd, off64_t length) {
  REAL(ftruncate64);
  char path[4096];
  if (!path_of(fd, path)) return real(fd, length);
  NAME_STEP("truncate", path, real(fd, length));
}

int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }

int fflush(FILE *stream) {
  REAL(fflush);
  char path[4096];
  if (!stream || journal < 0 || !path_of(fileno(stream), path)) return real(stream);
  NAME_STEP("flush", path, real(stream));
}

// An inode number may come back: what was durable of the one before is not of the new one.
static void publish_born(uint32_t step, const char *path) {
  struct stat st;
  if (stat(path, &st) == 0) publish('B', step, st.st_ino, 0, NULL, 0);
  else publish('N', step, 0, 0, NULL, 0);
}

int mkdir(const char *path, mode_t mode) {
  REAL(mkdir);
  if (!below(path) || access(path, F_OK) == 0) return real(path, mode);
  uint32_t step = enter("mkdir", path);
  int result = real(path, mode);
  publish_born(step, path);
  leave(step);
  return result;
}

static int open_step(const char *path, int flags, mode_t mode) {
  if (!below(path) || !(flags & O_CREAT) || access(path, F_OK) == 0) return real_open(path, flags, mode);
  uint32_t step = enter("create", path);
  int fd = real_open(path, flags, mode);
  publish_born(step, path);
  leave(step);
  return fd;
}

int open64(const char *path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  mode_t mode = va_arg(rest, mode_t);
  va_end(rest);
  return open_step(path, flags, mode);
}

int open(const char *path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  mode_t mode = va_arg(rest, mode_t);
  va_end(rest);
  return open_step(path, flags, mode);
}
