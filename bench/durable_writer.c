// Stores files durably: for each file open, write, fsync, link, and fsync of the directory.
//
//     durable_writer SOURCE SIZE COUNT DIRECTORY THREADS
//
// File n has the SIZE bytes at n * SIZE of SOURCE, and the name n.bin. Prints the seconds from the
// start of the threads to their end; SOURCE was read into memory before.
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static atomic_long next_file;
static long count, size;
static int directory;
static char *content;

static void store(long number) {
    char name[32], unnamed[64];
    // Without a name until it is linked, so that there is none to remove.
    int fd = openat(directory, ".", O_TMPFILE | O_WRONLY, 0640);
    if (fd < 0)
        err(1, "open");
    for (long done = 0; done < size;) {
        ssize_t written = write(fd, content + number * size + done, size - done);
        if (written < 0)
            err(1, "write");
        done += written;
    }
    if (fsync(fd))
        err(1, "fsync");
    snprintf(name, sizeof name, "%ld.bin", number);
    snprintf(unnamed, sizeof unnamed, "/proc/self/fd/%d", fd);
    if (linkat(AT_FDCWD, unnamed, directory, name, AT_SYMLINK_FOLLOW))
        err(1, "link");
    if (fsync(directory))
        err(1, "fsync of the directory");
    close(fd);
}

static void *work(void *unused) {
    (void)unused;
    for (long number; (number = atomic_fetch_add(&next_file, 1)) < count;)
        store(number);
    return NULL;
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

int main(int arguments, char **argument) {
    if (arguments != 6)
        errx(2, "usage: durable_writer SOURCE SIZE COUNT DIRECTORY THREADS");
    size = atol(argument[2]);
    count = atol(argument[3]);
    directory = open(argument[4], O_DIRECTORY);
    FILE *source = fopen(argument[1], "rb");
    content = malloc(size * count);
    if (directory < 0 || !source || !content || fread(content, size, count, source) != (size_t)count)
        err(1, "%s, %s", argument[1], argument[4]);
    long threads = atol(argument[5]);
    pthread_t thread[threads];
    double began = now();
    for (long each = 0; each < threads; each++)
        if (pthread_create(&thread[each], NULL, work, NULL))
            errx(1, "no thread");
    for (long each = 0; each < threads; each++)
        pthread_join(thread[each], NULL);
    printf("%.9f\n", now() - began);
}
