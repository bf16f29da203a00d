// The rows as a program of Linux: run natively as it is, in a guest as /init of an initramfs. Both are the same file.
//
// Commands come from the standard input, as rows/harness.h tells; of pid 1 that is the console.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/reboot.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "rows/harness.h"

static const char* program;

static uint64_t syscall_unit(void) {
    uint64_t sum = 0;
    const long before = syscall(SYS_umask, 0);
    for (int i = 0; i < 1000; i++) {
        sum = mix(sum, (uint64_t)syscall(SYS_umask, i & 0777));
    }
    (void)syscall(SYS_umask, before);
    return sum;
}

static uint64_t fault_unit(void) {
    enum { kPages = 256, kPage = 4096 };
    uint64_t sum = 0;
    volatile char* memory = mmap(NULL, kPages * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        return 0;
    }
    (void)madvise((void*)memory, kPages * kPage, MADV_NOHUGEPAGE);
    for (int i = 0; i < kPages; i++) {
        memory[i * kPage] = (char)i;
        sum += (unsigned char)memory[i * kPage];
    }
    munmap((void*)memory, kPages * kPage);
    return sum;
}

// A byte goes to a child and back, 100 times.
static uint64_t switch_unit(void) {
    enum { kRounds = 100 };
    static int to_child[2], to_parent[2];
    static pid_t child;
    if (child == 0) {
        if (pipe(to_child) != 0 || pipe(to_parent) != 0) {
            return 0;
        }
        child = fork();
        if (child == 0) {
            close(to_child[1]);
            char byte;
            while (read(to_child[0], &byte, 1) == 1) {
                byte++;
                if (write(to_parent[1], &byte, 1) != 1) {
                    break;
                }
            }
            _exit(0);
        }
    }
    uint64_t sum = 0;
    char byte = 0;
    for (int i = 0; i < kRounds; i++) {
        if (write(to_child[1], &byte, 1) != 1 || read(to_parent[0], &byte, 1) != 1) {
            return 0;
        }
        sum = mix(sum, (unsigned char)byte);
    }
    return sum;
}

static uint64_t reap(pid_t child) {
    int status = 0;
    waitpid(child, &status, 0);
    return (uint64_t)(WIFEXITED(status) ? WEXITSTATUS(status) : 1000);
}

static uint64_t fork_unit(void) {
    uint64_t sum = 0;
    for (int i = 0; i < 4; i++) {
        const pid_t child = fork();
        if (child == 0) {
            _exit(i + 7);
        }
        sum = mix(sum, reap(child));
    }
    return sum;
}

static uint64_t fork_exec_unit(void) {
    uint64_t sum = 0;
    for (int i = 0; i < 2; i++) {
        const pid_t child = fork();
        if (child == 0) {
            execl(program, program, "exit", (char*)0);
            _exit(99);
        }
        sum = mix(sum, reap(child));
    }
    return sum;
}

static const struct Row kSystemRows[] = {
    {"system", "syscall", 1000, NOTHING, syscall_unit},
    {"system", "fault", 256, NOTHING, fault_unit},
    {"system", "switch", 200, NOTHING, switch_unit},
    {"system", "fork", 4, NOTHING, fork_unit},
    {"system", "fork_exec", 2, NOTHING, fork_exec_unit},
};

static int read_line(char* line, unsigned size) {
    if (!fgets(line, (int)size, stdin)) {
        return 0;
    }
    line[strcspn(line, "\r\n")] = 0;
    return 1;
}

static void print(const char* text) {
    fputs(text, stdout);
    fflush(stdout);
    (void)tcdrain(STDOUT_FILENO);  // of a serial port; nothing of a pipe
}

int main(int argc, char** argv) {
    if (argc > 1 && strcmp(argv[1], "exit") == 0) {
        return 42;
    }
    program = argv[0];
    struct termios terminal;
    if (tcgetattr(STDIN_FILENO, &terminal) == 0) {
        terminal.c_lflag &= ~(tcflag_t)ECHO;
        (void)tcsetattr(STDIN_FILENO, TCSANOW, &terminal);
    }
    const struct Table tables[2] = {{kCpuRows, kCpuRowCount}, {kSystemRows, sizeof(kSystemRows) / sizeof(kSystemRows[0])}};
    const struct Place place = {read_line, print};
    serve(tables, 2, &place);
    if (getpid() == 1) {
        reboot(RB_POWER_OFF);
    }
    return 0;
}
