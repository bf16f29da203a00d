#include "jit/native_choices.hpp"

#include "cpu/x86/model/native_features.hpp"
#include "cpu/x86/state/regs.hpp"
#include "jit/code_memory.hpp"

#include <bit>
#include <cstring>

namespace droste::jit {

namespace {

using enum ChoiceWidths;

constexpr std::nullopt_t kAlways = std::nullopt;

// RAX is the destination, RCX the source and CL the count, RDX the third operand.
// clang-format off
constexpr auto kRows = std::to_array<ChoiceRow>({
#include "jit/native_choices.inc"
});
// clang-format on

constexpr u8 kTwoByte = 0x0F, kOperandSize = 0x66, kRexW = 0x48, kRepeat = 0xF3;

// splitmix64.
struct Inputs {
    u64 state;

    u64 next() {
        state += 0x9E37'79B9'7F4A'7C15;
        u64 z = state;
        z = (z ^ (z >> 30)) * 0xBF58'476D'1CE4'E5B9;
        z = (z ^ (z >> 27)) * 0x94D0'49BB'1331'11EB;
        return z ^ (z >> 31);
    }
    // Short and sparse values come up often, and 0.
    u64 operand() {
        const u64 kind = next();
        switch (kind & 3) {
        case 0: return next();
        case 1: return next() >> (kind >> 58);
        case 2: return u64{1} << (kind >> 58);
        default: return (kind & 4) != 0 ? next() & 0xFF : next() << (kind >> 58);
        }
    }
};

u32 mix(u32 hash, u64 value) {
    const u64 product = (hash ^ value ^ (value >> 32)) * 0x9E37'79B9'7F4A'7C15;
    return std::rotl(static_cast<u32>(product >> 32), 5) + static_cast<u32>(value);
}

// Runs an instruction with registers and flags of a structure whose address is in RDI.
std::vector<u8> harness(std::span<const u8> insn) {
    static_assert(sizeof(ChoiceRegisters) == 32);
    std::vector<u8> code = {0xFF, 0x77, 24,   0x9D,  // push [rdi+24]; popfq
                            0x48, 0x8B, 0x07,        // mov rax, [rdi]
                            0x48, 0x8B, 0x4F, 8,     // mov rcx, [rdi+8]
                            0x48, 0x8B, 0x57, 16};   // mov rdx, [rdi+16]
    code.insert(code.end(), insn.begin(), insn.end());
    constexpr auto kEnd = std::to_array<u8>({0x9C, 0x8F, 0x47, 24,  // pushfq; pop [rdi+24]
                                             0x48, 0x89, 0x07,      // mov [rdi], rax
                                             0x48, 0x89, 0x4F, 8,   // mov [rdi+8], rcx
                                             0x48, 0x89, 0x57, 16,  // mov [rdi+16], rdx
                                             0xC3});
    code.insert(code.end(), kEnd.begin(), kEnd.end());
    return code;
}

// SDM Vol. 1, "x87 FPU Environment": the format of 32-bit protected mode.
struct X87Environment {
    u32 control = 0x37F;
    u32 status = 0;
    u32 tags = 0xFFFF;
    std::array<u32, 4> pointers{};
};

// Runs `before` and an instruction, stores the status word.
std::vector<u8> x87_harness(std::span<const u8> before, std::span<const u8> insn) {
    std::vector<u8> code(before.begin(), before.end());
    code.insert(code.end(), insn.begin(), insn.end());
    constexpr auto kEnd =
        std::to_array<u8>({0xDD, 0x7F, 4, 0xDB, 0xE3, 0xC3});  // fnstsw [rdi+4]; fninit
    code.insert(code.end(), kEnd.begin(), kEnd.end());
    return code;
}

// Arithmetic, moves, constants and stack control: of each way to execute them, some.
constexpr auto kX87 = std::to_array<std::array<u8, 2>>({
    {0xD8, 0xC1}, {0xD8, 0xC9}, {0xD8, 0xE1},
    {0xD8, 0xF1}, {0xDE, 0xC1},  // FADD FMUL FSUB FDIV FADDP
    {0xD9, 0xC0}, {0xDD, 0xD9}, {0xD9, 0xC9},
    {0xD9, 0xEB}, {0xD9, 0xEE},  // FLD FSTP FXCH FLDPI FLDZ
    {0xD9, 0xE0}, {0xD9, 0xE1}, {0xD9, 0xFA},
    {0xD9, 0xFC}, {0xD9, 0xFD},  // FCHS FABS FSQRT FRNDINT FSCALE
    {0xD9, 0xF6}, {0xD9, 0xF7}, {0xD9, 0xD0},
    {0xDB, 0xF1}, {0xDA, 0xC1},  // FDECSTP FINCSTP FNOP FCOMI FCMOVB
});

class NativeRunner {
  public:
    explicit NativeRunner(CodeMemory& memory) : memory_(memory) {}

    void load(std::span<const u8> code) {
        std::memcpy(memory_.writable(), code.data(), code.size());
    }
    void run(void* argument) {
        reinterpret_cast<void (*)(void*)>(reinterpret_cast<std::uintptr_t>(memory_.executable()))(
            argument);
    }

  private:
    CodeMemory& memory_;
};

// Sets the conditions, and has 1 and 1.
constexpr auto kSetConditions =
    std::to_array<u8>({0xD9, 0x27, 0xD9, 0xE8, 0xD9, 0xE8});  // fldenv [rdi]; fld1; fld1
// Sets C1, which loading clears: the sign of -1.
constexpr auto kSetC1 =
    std::to_array<u8>({0xD9, 0xE8, 0xD9, 0xE8, 0xD9, 0xE0, 0xD9, 0xE5});  // fld1; fld1; fchs; fxam
constexpr auto kFcomi = std::to_array<u8>({0xDB, 0xF1});

bool conditions_unchanged(NativeRunner& native) {
    constexpr u32 kConditions = 0x4500;  // C3, C2, C0
    for (const auto& insn : kX87) {
        native.load(x87_harness(kSetConditions, insn));
        for (const u32 conditions : {u32{0}, kConditions}) {
            X87Environment environment{.status = conditions};
            native.run(&environment);
            if ((environment.status & kConditions) != conditions) {
                return false;
            }
        }
    }
    constexpr u32 kC1 = 0x0200;
    native.load(x87_harness(kSetC1, kFcomi));
    X87Environment environment;
    native.run(&environment);
    return (environment.status & kC1) != 0;
}

}  // namespace

std::span<const ChoiceRow> choice_rows() {
    return kRows;
}

std::vector<u8> choice_code(const ChoiceRow& row, unsigned log2) {
    const bool bytes = row.widths == All || row.widths == Divide;
    if ((log2 == 0 && !bytes) || (row.widths == Vex && log2 < 2) ||
        (row.widths == WordOnly && log2 != 1)) {
        return {};
    }
    std::vector<u8> code(row.code.begin(), row.code.begin() + row.length);
    if (row.widths == Vex) {
        code[2] |= log2 == 3 ? 0x80 : 0;
        return code;
    }
    const std::size_t prefixes = code[0] == kRepeat ? 1 : 0;
    const std::size_t opcode = prefixes + (code[prefixes] == kTwoByte ? 1 : 0);
    if (log2 == 0) {
        --code[opcode];
    } else if (log2 == 1) {
        code.insert(code.begin(), kOperandSize);
    } else if (log2 == 3) {
        code.insert(code.begin() + static_cast<std::ptrdiff_t>(prefixes), kRexW);
    }
    return code;
}

ChoiceHash
choice_hash(const ChoiceRow& row, unsigned log2, const std::function<void(ChoiceRegisters&)>& run) {
    constexpr unsigned kRuns = 200;
    Inputs inputs{.state = (u64{static_cast<u16>(row.op)} << 8) + log2};
    ChoiceHash hash;
    for (unsigned i = 0; i < kRuns; ++i) {
        ChoiceRegisters registers{.rax = inputs.operand(),
                                  .rcx = inputs.operand(),
                                  .rdx = inputs.operand(),
                                  .flags = inputs.next() & rflags::kStatus};
        if (row.widths ==
            Divide) {  // a positive dividend of half the bits, a divisor that is not 0
            registers.rax &= (u64{1} << ((8U << log2) - 1)) - 1;
            registers.rcx |= 1;
            registers.rdx = 0;
        }
        run(registers);
        hash.results = mix(mix(mix(hash.results, registers.rax), registers.rcx), registers.rdx);
        hash.flags = mix(hash.flags, registers.flags & rflags::kStatus);
    }
    return hash;
}

NativeChoices::NativeChoices(const NativeFeatures& native) {
    static const NativeChoices kAsked = ask();
    *this = kAsked;
    if (!native.has(NativeFeatures::Trait::UndefinedFlags)) {
        other_flags_ = all_forms();
    }
    if (!native.has(NativeFeatures::Trait::UndefinedResults)) {
        other_results_ = all_forms();
    }
    conditions_are_ours_ =
        conditions_are_ours_ && native.has(NativeFeatures::Trait::UndefinedResults);
}

NativeChoices::Forms NativeChoices::all_forms() {
    Forms forms;
    for (const ChoiceRow& row : kRows) {
        for (unsigned log2 = 0; log2 < kWidths; ++log2) {
            forms.set(at(row.op, 1U << log2));
        }
    }
    return forms;
}

NativeChoices NativeChoices::ask() {
    NativeChoices found;
    auto memory = CodeMemory::create(kPageBytes);
    if (!memory) {
        found.other_flags_ = found.other_results_ = all_forms();
        found.conditions_are_ours_ = false;
        return found;
    }
    NativeRunner native(memory.value());
    const CpuFeatures features = native_cpuid_features();
    for (const ChoiceRow& row : kRows) {
        if (row.feature && !features.has(*row.feature)) {
            continue;
        }
        for (unsigned log2 = 0; log2 < kWidths; ++log2) {
            const std::size_t form = at(row.op, 1U << log2);
            const std::vector<u8> code = choice_code(row, log2);
            if (code.empty()) {
                continue;
            }
            native.load(harness(code));
            const ChoiceHash theirs =
                choice_hash(row, log2, [&](ChoiceRegisters& r) { native.run(&r); });
            if (theirs.flags != row.ours[log2].flags) {
                found.other_flags_.set(form);
            }
            if (theirs.results != row.ours[log2].results) {
                found.other_results_.set(form);
            }
        }
    }
    found.conditions_are_ours_ = conditions_unchanged(native);
    return found;
}

}  // namespace droste::jit
