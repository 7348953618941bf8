/* Counts what a program does to files below one folder, and fails at one of these operations.
 *
 * Loaded with LD_PRELOAD. fault_arm(folder, n, kind, number) makes operation n, counted from 1,
 * - kind 'k': send the signal `number` to the process instead of doing it,
 * - kind 't': write half of the bytes, then send the signal (a write alone is cut),
 * - kind 'e': fail with errno `number`, as every later operation that needs space does.
 * n = 0 only counts. fault_count() returns how many operations there were.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static char folder[PATH_MAX];
static long fail_at, count;
static char kind;
static int number, full;
static unsigned char watched[65536];

void fault_arm(const char *path, long at, char how, int with) {
    strncpy(folder, path, sizeof folder - 1);
    fail_at = at, kind = how, number = with, count = 0, full = 0;
}

long fault_count(void) { return count; }

static void send_signal(void) {
    kill(getpid(), number);
}

enum { TAKES_SPACE = 1, WRITES = 2 };

/* Count an operation; return 1 if it fails with errno. Of torn operations only writes count. */
static int fails(int does) {
    if (!folder[0] || (kind == 't' && !(does & WRITES))) return 0;
    count++;
    if (full && (does & TAKES_SPACE)) { errno = number; return 1; }
    if (count != fail_at) return 0;
    if (kind == 'e') { full = 1; errno = number; return 1; }
    if (kind == 'k') send_signal();
    return 0;
}

static int is_torn(void) { return folder[0] && kind == 't' && count == fail_at; }

static int is_below(int directory, const char *path) {
    char at[PATH_MAX], link[64];
    if (!folder[0]) return 0;
    if (path[0] != '/') {
        if (directory == AT_FDCWD) {
            if (!getcwd(at, sizeof at)) return 0;
        } else {
            snprintf(link, sizeof link, "/proc/self/fd/%d", directory);
            ssize_t n = readlink(link, at, sizeof at - 1);
            if (n < 0) return 0;
            at[n] = 0;
        }
        path = at;
    }
    size_t n = strlen(folder);
    return strncmp(path, folder, n) == 0 && (path[n] == '/' || !path[n]);
}

static int is_watched(int fd) { return fd >= 0 && fd < 65536 && watched[fd]; }

static int noted(int fd, int below) {
    if (fd >= 0 && fd < 65536) watched[fd] = below;
    return fd;
}

#define REAL(type, name, ...) \
    static type (*real)(__VA_ARGS__); \
    if (!real) real = dlsym(RTLD_NEXT, name)

#define OPENS(name, text) \
    int name(const char *path, int flags, ...) { \
        REAL(int, text, const char *, int, ...); \
        va_list more; va_start(more, flags); int mode = va_arg(more, int); va_end(more); \
        int below = (flags & (O_CREAT | O_WRONLY | O_RDWR)) && is_below(AT_FDCWD, path); \
        if (below && (flags & (O_CREAT | O_TRUNC)) && fails(TAKES_SPACE)) return -1; \
        return noted(real(path, flags, mode), below); \
    }
OPENS(open, "open")
OPENS(open64, "open64")

#define OPENS_AT(name, text) \
    int name(int directory, const char *path, int flags, ...) { \
        REAL(int, text, int, const char *, int, ...); \
        va_list more; va_start(more, flags); int mode = va_arg(more, int); va_end(more); \
        int below = (flags & (O_CREAT | O_WRONLY | O_RDWR)) && is_below(directory, path); \
        if (below && (flags & (O_CREAT | O_TRUNC)) && fails(TAKES_SPACE)) return -1; \
        return noted(real(directory, path, flags, mode), below); \
    }
OPENS_AT(openat, "openat")
OPENS_AT(openat64, "openat64")

#define FOPENS(name, text) \
    FILE *name(const char *path, const char *mode) { \
        REAL(FILE *, text, const char *, const char *); \
        int below = strpbrk(mode, "wa+") && is_below(AT_FDCWD, path); \
        if (below && fails(TAKES_SPACE)) return NULL; \
        FILE *file = real(path, mode); \
        if (file) noted(fileno(file), below); \
        return file; \
    }
FOPENS(fopen, "fopen")
FOPENS(fopen64, "fopen64")

size_t fwrite(const void *bytes, size_t size, size_t n, FILE *file) {
    REAL(size_t, "fwrite", const void *, size_t, size_t, FILE *);
    if (!is_watched(fileno(file))) return real(bytes, size, n, file);
    if (fails(TAKES_SPACE | WRITES)) return 0;
    if (is_torn()) { real(bytes, 1, size * n / 2, file); fflush(file); send_signal(); }
    size_t done = real(bytes, size, n, file);
    fflush(file);
    return done;
}

ssize_t write(int fd, const void *bytes, size_t n) {
    REAL(ssize_t, "write", int, const void *, size_t);
    if (!is_watched(fd)) return real(fd, bytes, n);
    if (fails(TAKES_SPACE | WRITES)) return -1;
    if (is_torn()) { real(fd, bytes, n / 2); send_signal(); }
    return real(fd, bytes, n);
}

ssize_t writev(int fd, const struct iovec *parts, int n) {
    REAL(ssize_t, "writev", int, const struct iovec *, int);
    if (!is_watched(fd)) return real(fd, parts, n);
    if (fails(TAKES_SPACE | WRITES)) return -1;
    if (is_torn()) { real(fd, parts, n > 1 ? n - 1 : 1); send_signal(); }
    return real(fd, parts, n);
}

#define PWRITES(name, text) \
    ssize_t name(int fd, const void *bytes, size_t n, off_t place) { \
        REAL(ssize_t, text, int, const void *, size_t, off_t); \
        if (!is_watched(fd)) return real(fd, bytes, n, place); \
        if (fails(TAKES_SPACE | WRITES)) return -1; \
        if (is_torn()) { real(fd, bytes, n / 2, place); send_signal(); } \
        return real(fd, bytes, n, place); \
    }
PWRITES(pwrite, "pwrite")
PWRITES(pwrite64, "pwrite64")

#define ON_FD(name, text, space) \
    int name(int fd) { \
        REAL(int, text, int); \
        if (is_watched(fd) && fails(space)) return -1; \
        return real(fd); \
    }
ON_FD(fsync, "fsync", TAKES_SPACE)
ON_FD(fdatasync, "fdatasync", TAKES_SPACE)

int close(int fd) {
    REAL(int, "close", int);
    noted(fd, 0);
    return real(fd);
}

#define TRUNCATES(name, text) \
    int name(int fd, off_t length) { \
        REAL(int, text, int, off_t); \
        if (is_watched(fd) && fails(0)) return -1; \
        return real(fd, length); \
    }
TRUNCATES(ftruncate, "ftruncate")
TRUNCATES(ftruncate64, "ftruncate64")

ssize_t copy_file_range(int from, off_t *a, int to, off_t *b, size_t n, unsigned flags) {
    REAL(ssize_t, "copy_file_range", int, off_t *, int, off_t *, size_t, unsigned);
    if (is_watched(to) && fails(TAKES_SPACE)) return -1;
    return real(from, a, to, b, n, flags);
}

ssize_t sendfile(int to, int from, off_t *place, size_t n) {
    REAL(ssize_t, "sendfile", int, int, off_t *, size_t);
    if (is_watched(to) && fails(TAKES_SPACE)) return -1;
    return real(to, from, place, n);
}

ssize_t sendfile64(int to, int from, off_t *place, size_t n) { return sendfile(to, from, place, n); }

#define ON_PATH(name, space) \
    int name(const char *path) { \
        REAL(int, #name, const char *); \
        if (is_below(AT_FDCWD, path) && fails(space)) return -1; \
        return real(path); \
    }
ON_PATH(unlink, 0)
ON_PATH(rmdir, 0)

int unlinkat(int directory, const char *path, int flags) {
    REAL(int, "unlinkat", int, const char *, int);
    if (is_below(directory, path) && fails(0)) return -1;
    return real(directory, path, flags);
}

int mkdir(const char *path, mode_t mode) {
    REAL(int, "mkdir", const char *, mode_t);
    struct stat there;
    if (is_below(AT_FDCWD, path) && stat(path, &there) && fails(TAKES_SPACE)) return -1;
    return real(path, mode);
}

int rename(const char *from, const char *to) {
    REAL(int, "rename", const char *, const char *);
    if (is_below(AT_FDCWD, to) && fails(0)) return -1;
    return real(from, to);
}

int renameat(int at, const char *from, int into, const char *to) {
    REAL(int, "renameat", int, const char *, int, const char *);
    if (is_below(into, to) && fails(0)) return -1;
    return real(at, from, into, to);
}

int renameat2(int at, const char *from, int into, const char *to, unsigned flags) {
    REAL(int, "renameat2", int, const char *, int, const char *, unsigned);
    if (is_below(into, to) && fails(0)) return -1;
    return real(at, from, into, to, flags);
}
