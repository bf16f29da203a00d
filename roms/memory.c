// Memory: the page pool between the end of the image and 2 MiB, and what the compiler expects of a library.
#include "rom.h"

static u64 pool_next;

void* allocate_page(void) {
    if (pool_next == 0) {
        pool_next = (u64)(uintptr_t)pool_start;
    }
    if (pool_next + kPageBytes > (u64)(uintptr_t)pool_end) {
        fatal("the page pool is empty (too many levels)");
    }
    void* page = (void*)(uintptr_t)pool_next;  // identity-mapped
    pool_next += kPageBytes;
    zero_bytes(page, kPageBytes);
    return page;
}

void copy_bytes(void* to, const void* from, u64 length) {
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(length) : : "memory");
}

void zero_bytes(void* to, u64 length) {
    __asm__ volatile("rep stosb" : "+D"(to), "+c"(length) : "a"(0) : "memory");
}

bool starts_with(const char* text, const char* start_text) {
    while (*start_text != 0) {
        if (*text++ != *start_text++) {
            return false;
        }
    }
    return true;
}

// The compiler may call these.
void* memcpy(void* to, const void* from, size_t length);
void* memset(void* to, int value, size_t length);

void* memcpy(void* to, const void* from, size_t length) {
    copy_bytes(to, from, length);
    return to;
}

void* memset(void* to, int value, size_t length) {
    void* at = to;
    __asm__ volatile("rep stosb" : "+D"(at), "+c"(length) : "a"(value) : "memory");
    return to;
}
