/* Stands between a program and the C library (LD_PRELOAD) and makes one call on a watched folder go wrong.

   Every call that changes a file below the folder is counted. The one with the chosen number is where the
   process is killed (before it, behind it, or in the middle of a write), or where the system refuses. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { WATCH, KILL_BEFORE, KILL_BEHIND, KILL_WITHIN, REFUSE, REFUSE_ALWAYS, SHORT };

static char folder[PATH_MAX];
static long chosen = -1, count;
static int action = WATCH, number;
static char journal[1 << 22];
static size_t journal_length;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

void faults_arm(const char *watched, long at, int how, int error)
{
    pthread_mutex_lock(&lock);
    snprintf(folder, sizeof folder, "%s/", watched);
    chosen = at;
    action = how;
    number = error;
    count = 0;
    journal_length = 0;
    journal[0] = 0;
    pthread_mutex_unlock(&lock);
}

void faults_disarm(void) { folder[0] = 0; }
long faults_count(void) { return count; }
const char *faults_journal(void) { return journal; }

static void die(void)
{
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

static int below(const char *path)
{
    char absolute[PATH_MAX];
    if (!folder[0] || !path) return 0;
    if (path[0] != '/') {
        char here[PATH_MAX];
        if (!getcwd(here, sizeof here)) return 0;
        if (snprintf(absolute, sizeof absolute, "%s/%s", here, path) >= (int)sizeof absolute) return 0;
        path = absolute;
    }
    return strncmp(path, folder, strlen(folder)) == 0 ||
           (strlen(path) + 1 == strlen(folder) && strncmp(path, folder, strlen(path)) == 0);
}

static const char *name_of(int descriptor, char *path)
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length < 0) return NULL;
    path[length] = 0;
    return path;
}

/* Notes the call; what to do with it: WATCH to let it pass. */
static int step(const char *call, const char *path)
{
    if (!below(path)) return WATCH;
    pthread_mutex_lock(&lock);
    long at = count++;
    int wrote = snprintf(journal + journal_length, sizeof journal - journal_length, "%s %s\n", call, path);
    if (wrote > 0 && journal_length + wrote < sizeof journal) journal_length += wrote;
    pthread_mutex_unlock(&lock);
    if (action == REFUSE_ALWAYS && chosen >= 0 && at >= chosen) return REFUSE;
    return at == chosen ? action : WATCH;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* A call without a size: killed within it is killed before it. */
#define PASS(what, path, refused, call)                                                     \
    do {                                                                                    \
        int how_ = step(what, path);                                                        \
        if (how_ == KILL_BEFORE || how_ == KILL_WITHIN) die();                              \
        if (how_ == REFUSE) { errno = number; return refused; }                             \
        __typeof__(call) result_ = call;                                                    \
        if (how_ == KILL_BEHIND) die();                                                     \
        return result_;                                                                     \
    } while (0)

#define WRITE(what, path, size, full, part)                                                 \
    do {                                                                                    \
        int how_ = step(what, path);                                                        \
        if (how_ == KILL_BEFORE) die();                                                     \
        if (how_ == REFUSE) { errno = number; return -1; }                                  \
        if (how_ == KILL_WITHIN) { if (part) {} die(); }                                    \
        if (how_ == SHORT && (size) > 1) return part;                                       \
        ssize_t result_ = full;                                                             \
        if (how_ == KILL_BEHIND) die();                                                     \
        return result_;                                                                     \
    } while (0)

ssize_t write(int fd, const void *data, size_t size)
{
    char path[PATH_MAX];
    WRITE("write", name_of(fd, path), size, REAL(write)(fd, data, size), REAL(write)(fd, data, size / 2));
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at)
{
    char path[PATH_MAX];
    WRITE("pwrite", name_of(fd, path), size, REAL(pwrite)(fd, data, size, at), REAL(pwrite)(fd, data, size / 2, at));
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at)
{
    char path[PATH_MAX];
    WRITE("pwrite", name_of(fd, path), size, REAL(pwrite64)(fd, data, size, at),
          REAL(pwrite64)(fd, data, size / 2, at));
}

ssize_t writev(int fd, const struct iovec *parts, int many)
{
    char path[PATH_MAX];
    WRITE("writev", name_of(fd, path), (size_t)many, REAL(writev)(fd, parts, many), REAL(writev)(fd, parts, many / 2));
}

ssize_t pwritev(int fd, const struct iovec *parts, int many, off_t at)
{
    char path[PATH_MAX];
    WRITE("pwritev", name_of(fd, path), (size_t)many, REAL(pwritev)(fd, parts, many, at),
          REAL(pwritev)(fd, parts, many / 2, at));
}

ssize_t copy_file_range(int from, off64_t *at, int fd, off64_t *to, size_t size, unsigned flags)
{
    char path[PATH_MAX];
    WRITE("copy_file_range", name_of(fd, path), size, REAL(copy_file_range)(from, at, fd, to, size, flags),
          REAL(copy_file_range)(from, at, fd, to, size / 2, flags));
}

int ftruncate(int fd, off_t size)
{
    char path[PATH_MAX];
    PASS("ftruncate", name_of(fd, path), -1, REAL(ftruncate)(fd, size));
}

int ftruncate64(int fd, off64_t size)
{
    char path[PATH_MAX];
    PASS("ftruncate", name_of(fd, path), -1, REAL(ftruncate64)(fd, size));
}

/* These two return the error's number. */
int posix_fallocate(int fd, off_t at, off_t size)
{
    char path[PATH_MAX];
    PASS("fallocate", name_of(fd, path), number, REAL(posix_fallocate)(fd, at, size));
}

int posix_fallocate64(int fd, off64_t at, off64_t size)
{
    char path[PATH_MAX];
    PASS("fallocate", name_of(fd, path), number, REAL(posix_fallocate64)(fd, at, size));
}

int fsync(int fd)
{
    char path[PATH_MAX];
    PASS("fsync", name_of(fd, path), -1, REAL(fsync)(fd));
}

int fdatasync(int fd)
{
    char path[PATH_MAX];
    PASS("fsync", name_of(fd, path), -1, REAL(fdatasync)(fd));
}

int rename(const char *old, const char *new) { PASS("rename", new, -1, REAL(rename)(old, new)); }

int renameat(int a, const char *old, int b, const char *new) { PASS("rename", new, -1, REAL(renameat)(a, old, b, new)); }

int renameat2(int a, const char *old, int b, const char *new, unsigned flags)
{
    PASS("exchange", new, -1, REAL(renameat2)(a, old, b, new, flags));
}

int link(const char *old, const char *new) { PASS("link", new, -1, REAL(link)(old, new)); }

int linkat(int a, const char *old, int b, const char *new, int flags)
{
    PASS("link", new, -1, REAL(linkat)(a, old, b, new, flags));
}

int mkdir(const char *path, mode_t mode) { PASS("mkdir", path, -1, REAL(mkdir)(path, mode)); }

int rmdir(const char *path) { PASS("rmdir", path, -1, REAL(rmdir)(path)); }

int unlink(const char *path) { PASS("unlink", path, -1, REAL(unlink)(path)); }

int unlinkat(int at, const char *path, int flags) { PASS("unlink", path, -1, REAL(unlinkat)(at, path, flags)); }

int chmod(const char *path, mode_t mode) { PASS("chmod", path, -1, REAL(chmod)(path, mode)); }

int fchmod(int fd, mode_t mode)
{
    char path[PATH_MAX];
    PASS("chmod", name_of(fd, path), -1, REAL(fchmod)(fd, mode));
}

static mode_t mode_of(int flags, va_list rest)
{
    return flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;
}

#define OPEN(signature, call)                                                               \
    {                                                                                       \
        va_list rest;                                                                       \
        va_start(rest, flags);                                                              \
        mode_t mode = mode_of(flags, rest);                                                 \
        va_end(rest);                                                                       \
        if (!(flags & (O_WRONLY | O_RDWR | O_CREAT | O_DIRECTORY))) return call;            \
        PASS(flags & O_CREAT ? "create" : "open", path, -1, call);                          \
    }

int open(const char *path, int flags, ...) OPEN(open, REAL(open)(path, flags, mode))
int open64(const char *path, int flags, ...) OPEN(open64, REAL(open64)(path, flags, mode))
int openat(int at, const char *path, int flags, ...) OPEN(openat, REAL(openat)(at, path, flags, mode))
int openat64(int at, const char *path, int flags, ...) OPEN(openat64, REAL(openat64)(at, path, flags, mode))
