// Integer programs of the kinds CoreMark has (list, matrix, state machine, CRC), sorting and a sieve.
#include "rows.h"

enum { kNodes = 256, kOrder = 24, kText = 2048, kCrcBytes = 4096, kNumbers = 4096, kSieve = 65536 };

struct Node {
    struct Node* next;
    int16_t key;
    int16_t value;
};

static struct Node* merge_lists(struct Node* a, struct Node* b) {
    struct Node head = {0, 0, 0};
    struct Node* last = &head;
    while (a && b) {
        struct Node** smaller = a->key <= b->key ? &a : &b;
        last->next = *smaller;
        last = *smaller;
        *smaller = (*smaller)->next;
    }
    last->next = a ? a : b;
    return head.next;
}

// Bottom-up: lists[i] holds 2^i sorted nodes or none.
static struct Node* sort_list(struct Node* list) {
    struct Node* lists[12] = {0};
    while (list) {
        struct Node* run = list;
        list = list->next;
        run->next = 0;
        unsigned i = 0;
        for (; lists[i]; i++) {
            run = merge_lists(lists[i], run);
            lists[i] = 0;
        }
        lists[i] = run;
    }
    struct Node* all = 0;
    for (unsigned i = 0; i < 12; i++) {
        all = merge_lists(lists[i], all);
    }
    return all;
}

static struct Node* reverse_list(struct Node* list) {
    struct Node* reversed = 0;
    while (list) {
        struct Node* next = list->next;
        list->next = reversed;
        reversed = list;
        list = next;
    }
    return reversed;
}

uint64_t list_unit(void) {
    static struct Node nodes[kNodes];
    uint64_t sum = 0, state = 88172645463325252u;
    struct Node* list = nodes;
    for (unsigned i = 0; i < kNodes; i++) {  // 77 is odd: a step of 77 meets every node
        nodes[i * 77 % kNodes].next = i + 1 < kNodes ? &nodes[(i + 1) * 77 % kNodes] : 0;
    }
    for (int round = 0; round < 8; round++) {
        for (struct Node* n = list; n; n = n->next) {
            n->key = (int16_t)random64(&state);
            n->value = (int16_t)(n->key ^ round);
        }
        list = reverse_list(sort_list(list));
        for (int find = 0; find < 8; find++) {
            const int16_t below = (int16_t)random64(&state);
            struct Node* n = list;
            while (n && n->key >= below) {
                n = n->next;
            }
            sum = mix(sum, n ? (uint16_t)n->value : 1);
        }
    }
    return sum;
}

uint64_t matrix_unit(void) {
    static int16_t a[kOrder][kOrder], b[kOrder][kOrder];
    static int32_t c[kOrder][kOrder];
    uint64_t state = 88172645463325252u;
    for (int i = 0; i < kOrder; i++) {
        for (int j = 0; j < kOrder; j++) {
            a[i][j] = (int16_t)(random64(&state) & 0xFFF);
            b[i][j] = (int16_t)(random64(&state) & 0xFFF);
        }
    }
    uint64_t sum = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < kOrder; i++) {
            for (int j = 0; j < kOrder; j++) {
                int32_t product = 0;
                for (int k = 0; k < kOrder; k++) {
                    product += (int32_t)a[i][k] * b[k][j];
                }
                c[i][j] = product;
            }
        }
        for (int i = 0; i < kOrder; i++) {
            for (int j = 0; j < kOrder; j++) {
                sum += (uint64_t)(c[i][j] >> (j & 7));
                a[i][j] = (int16_t)(c[j][i] & 0x7FF);
            }
        }
    }
    return sum;
}

// Words separated by commas: is each an integer, a decimal fraction, an exponent, or nonsense?
enum State { kStart, kSigned, kInteger, kFraction, kExponent, kExponentSigned, kScientific, kInvalid, kStates };

static enum State step(enum State state, char c) {
    const int digit = c >= '0' && c <= '9';
    switch (state) {
    case kStart:
        return digit ? kInteger : c == '+' || c == '-' ? kSigned : c == '.' ? kFraction : kInvalid;
    case kSigned:
        return digit ? kInteger : c == '.' ? kFraction : kInvalid;
    case kInteger:
        return digit ? kInteger : c == '.' ? kFraction : kInvalid;
    case kFraction:
        return digit ? kFraction : c == 'e' || c == 'E' ? kExponent : kInvalid;
    case kExponent:
        return c == '+' || c == '-' ? kExponentSigned : kInvalid;
    case kExponentSigned:
    case kScientific:
        return digit ? kScientific : kInvalid;
    default:
        return kInvalid;
    }
}

uint64_t state_unit(void) {
    static const char* const kWords[8] = {"5012", "-874", "35.54400", ".1234500", "5.500e+3", "-.123e-2", "T0.3e-1F", "1.4.4e1z"};
    static char text[kText];
    uint64_t state = 88172645463325252u, sum = 0;
    unsigned at = 0;
    while (at < kText - 12) {
        for (const char* w = kWords[random64(&state) >> 20 & 7]; *w; w++) {
            text[at++] = *w;
        }
        text[at++] = ',';
    }
    while (at < kText) {
        text[at++] = ',';
    }
    uint32_t finals[kStates] = {0}, visits[kStates] = {0};
    for (int pass = 0; pass < 8; pass++) {
        enum State now = kStart;
        for (unsigned i = 0; i < kText; i++) {
            if (text[i] == ',') {
                finals[now]++;
                now = kStart;
                continue;
            }
            now = step(now, text[i]);
            visits[now]++;
        }
        text[(unsigned)(pass * 211)] ^= 1;
    }
    for (int i = 0; i < kStates; i++) {
        sum = mix(sum, finals[i] * 65537u + visits[i]);
    }
    return sum;
}

uint64_t crc_unit(void) {
    static uint8_t data[kCrcBytes];
    uint32_t table[256];
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int bit = 0; bit < 8; bit++) {
            c = c & 1 ? c >> 1 ^ 0xEDB88320u : c >> 1;
        }
        table[i] = c;
    }
    for (unsigned i = 0; i < kCrcBytes; i++) {
        data[i] = (uint8_t)(i * 37 + (i >> 5));
    }
    uint32_t crc = ~0u;
    for (int pass = 0; pass < 8; pass++) {
        for (unsigned i = 0; i < kCrcBytes; i++) {
            crc = crc >> 8 ^ table[(crc ^ data[i]) & 0xFF];
        }
    }
    return crc;
}

static void quicksort(uint32_t* first, uint32_t* last) {
    while (last - first > 12) {
        const uint32_t pivot = first[(last - first) / 2];
        uint32_t *i = first, *j = last - 1;
        while (i <= j) {
            while (*i < pivot) {
                i++;
            }
            while (*j > pivot) {
                j--;
            }
            if (i <= j) {
                const uint32_t other = *i;
                *i++ = *j;
                *j-- = other;
            }
        }
        if (j - first < last - i) {
            quicksort(first, j + 1);
            first = i;
        } else {
            quicksort(i, last);
            last = j + 1;
        }
    }
    for (uint32_t* i = first + 1; i < last; i++) {
        const uint32_t value = *i;
        uint32_t* j = i;
        for (; j > first && j[-1] > value; j--) {
            *j = j[-1];
        }
        *j = value;
    }
}

uint64_t sort_unit(void) {
    static uint32_t numbers[kNumbers];
    uint64_t state = 88172645463325252u, sum = 0;
    for (unsigned i = 0; i < kNumbers; i++) {
        numbers[i] = (uint32_t)random64(&state);
    }
    quicksort(numbers, numbers + kNumbers);
    for (unsigned i = 0; i < kNumbers; i++) {
        sum = sum * 31 + numbers[i];
    }
    return sum;
}

uint64_t sieve_unit(void) {
    static uint8_t composite[kSieve];
    for (unsigned i = 0; i < kSieve; i++) {
        composite[i] = 0;
    }
    uint64_t sum = 0;
    for (unsigned i = 2; i < kSieve; i++) {
        if (!composite[i]) {
            sum += i;
            for (unsigned j = 2 * i; j < kSieve; j += i) {
                composite[j] = 1;
            }
        }
    }
    return sum;
}
