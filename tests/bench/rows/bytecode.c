// Two interpreters: a stack machine, and a register machine whose values carry their type and whose objects have hashed fields,
// as Lua's do. Both dispatch by computed goto; the programs are tables below.
#include "rows.h"

enum StackOp { kPush, kLoad, kStore, kAdd, kSub, kMul, kXor, kLess, kJumpIf, kJump, kCall, kReturn, kHalt };

// s := 0; for i := 1500 down to 1: s := f(s, i) with f(a, b) = a * 3 xor b.
static const int32_t kStackProgram[] = {
    kPush, 0,     kStore, 0,        // 0  s
    kPush, 1500,  kStore, 1,        // 4  i
    kLoad, 0,     kLoad,  1,        // 8  loop
    kCall, 27,                      // 12
    kStore, 0,                      // 14
    kLoad, 1,     kPush,  1, kSub,  // 16
    kStore, 1,                      // 21
    kLoad, 1,                       // 23
    kJumpIf, 8,                     // 25
    // 27: the function begins here when called; the loop's end falls into it once and is told by the empty call stack
    kStore, 3,    kStore, 2,        // 27  b, a
    kLoad, 2,     kPush,  3, kMul,  // 31
    kLoad, 3,     kXor,             // 36
    kReturn,                        // 39
};

static uint64_t run_stack_machine(const int32_t* program, uint64_t* executed) {
    static const void* const kLabels[] = {&&push, &&load, &&store, &&add, &&sub, &&mul, &&xor, &&less, &&jump_if, &&jump, &&call,
                                          &&ret, &&halt};
    uint64_t stack[64] = {0}, locals[8] = {0}, count = 0;
    const int32_t* returns[16];
    unsigned depth = 0;
    uint64_t* top = stack + 2;  // two zeros below for whom falls through
    const int32_t* at = program;
#define NEXT                  \
    do {                      \
        count++;              \
        goto* kLabels[*at++]; \
    } while (0)
#define BINARY(expression)              \
    do {                                \
        const uint64_t b = *--top;      \
        const uint64_t a = *--top;      \
        *top++ = (expression);          \
        NEXT;                           \
    } while (0)
    NEXT;
push:
    *top++ = (uint64_t)(int64_t)*at++;
    NEXT;
load:
    *top++ = locals[*at++];
    NEXT;
store:
    locals[*at++] = *--top;
    NEXT;
add:
    BINARY(a + b);
sub:
    BINARY(a - b);
mul:
    BINARY(a * b);
xor:
    BINARY(a ^ b);
less:
    BINARY((uint64_t)(a < b));
jump_if:
    at = *--top ? program + *at : at + 1;
    NEXT;
jump:
    at = program + *at;
    NEXT;
call:
    returns[depth++ & 15] = at + 1;
    at = program + *at;
    NEXT;
ret:
    if (depth == 0) {
        goto halt;
    }
    at = returns[--depth & 15];
    NEXT;
halt:
    *executed = count;
    return locals[0];
#undef BINARY
#undef NEXT
}

uint64_t bytecode_unit(void) {
    uint64_t executed;
    const uint64_t result = run_stack_machine(kStackProgram, &executed);
    return mix(result, executed);
}

enum Type { kNil, kInteger, kNumber, kObject };

struct Value {
    union {
        int64_t integer;
        double number;
        struct Object* object;
    };
    enum Type type;
};

struct Field {
    uint32_t key;  // 0: free
    struct Value value;
};

struct Object {
    struct Field fields[16];
};

static struct Value* find_field(struct Object* object, uint32_t key) {
    for (uint32_t i = key * 0x9E3779B1u >> 28;; i = (i + 1) & 15) {
        struct Field* field = &object->fields[i];
        if (field->key == key || field->key == 0) {
            field->key = key;
            return &field->value;
        }
    }
}

enum RegisterOp { kLoadInteger, kLoadNumber, kGetField, kSetField, kAddValues, kMulValues, kSubValues, kLessJump, kMove, kEnd };

struct Instruction {
    uint8_t op, a;
    uint16_t b;
    int32_t k;
};

// r0 object, r1 i, r2 limit, r3 one, r4 scratch, r5 number, r6 factor.
// repeat o.count := o.count + i; o.total := o.total * factor + o.count; if i < limit: o.last := i; i := i + 1 until i = limit
static const struct Instruction kRegisterProgram[] = {
    {kLoadInteger, 1, 0, 0},       {kLoadInteger, 2, 0, 1700},  {kLoadInteger, 3, 0, 1},      {kLoadNumber, 6, 0, 3},
    {kLoadInteger, 4, 0, 0},       {kSetField, 0, 4, 0x51},     {kSetField, 0, 4, 0x77},
    {kGetField, 4, 0, 0x51},       {kAddValues, 4, 4, 1},       {kSetField, 0, 4, 0x51},      // 7
    {kGetField, 5, 0, 0x77},       {kMulValues, 5, 5, 6},       {kAddValues, 5, 5, 4},        {kSetField, 0, 5, 0x77},
    {kSetField, 0, 1, 0x33},       {kAddValues, 1, 1, 3},       {kLessJump, 1, 2, 7 - 17},
    {kGetField, 4, 0, 0x33},       {kEnd, 4, 0, 0},
};

static double to_number(struct Value v) {
    return v.type == kInteger ? (double)v.integer : v.number;
}

static uint64_t run_register_machine(struct Object* object, uint64_t* executed) {
    static const void* const kLabels[] = {&&load_integer, &&load_number, &&get_field, &&set_field, &&add, &&mul, &&sub,
                                          &&less_jump, &&move, &&end};
    struct Value r[8] = {{.object = object, .type = kObject}};
    const struct Instruction* at = kRegisterProgram;
    struct Instruction i;
    uint64_t count = 0;
#define NEXT                \
    do {                    \
        i = *at++;          \
        count++;            \
        goto* kLabels[i.op]; \
    } while (0)
#define ARITHMETIC(operator)                                                                    \
    do {                                                                                        \
        const struct Value x = r[i.b], y = r[i.k];                                              \
        if (x.type == kInteger && y.type == kInteger) {                                         \
            r[i.a] = (struct Value){.integer = x.integer operator y.integer, .type = kInteger}; \
        } else {                                                                                \
            r[i.a] = (struct Value){.number = to_number(x) operator to_number(y), .type = kNumber}; \
        }                                                                                       \
        NEXT;                                                                                   \
    } while (0)
    NEXT;
load_integer:
    r[i.a] = (struct Value){.integer = i.k, .type = kInteger};
    NEXT;
load_number:
    r[i.a] = (struct Value){.number = i.k / 4.0, .type = kNumber};
    NEXT;
get_field:
    r[i.a] = *find_field(r[i.b].object, (uint32_t)i.k);
    NEXT;
set_field:
    *find_field(r[i.a].object, (uint32_t)i.k) = r[i.b];
    NEXT;
add:
    ARITHMETIC(+);
mul:
    ARITHMETIC(*);
sub:
    ARITHMETIC(-);
less_jump:
    if (r[i.a].type == kInteger && r[i.b].type == kInteger ? r[i.a].integer < r[i.b].integer
                                                           : to_number(r[i.a]) < to_number(r[i.b])) {
        at += i.k;
    }
    NEXT;
move:
    r[i.a] = r[i.b];
    NEXT;
end:
    *executed = count;
    return (uint64_t)r[i.a].integer;
#undef ARITHMETIC
#undef NEXT
}

uint64_t lua_like_unit(void) {
    static struct Object object;
    object = (struct Object){0};
    uint64_t executed;
    const uint64_t last = run_register_machine(&object, &executed);
    const union {
        double number;
        uint64_t bits;
    } total = {find_field(&object, 0x77)->number};
    return mix(mix(last, total.bits), executed);
}
