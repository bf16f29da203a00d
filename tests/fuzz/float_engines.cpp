// Vector and x87 code in both engines: random programs of a few instructions, run round after round
// by the interpreter and by the translator, which must come to the same registers, memory, faults
// and instruction counts. What is to be found is not in the instructions, which the translator
// copies, but around them: where registers are when an instruction in between is interpreted, an
// access misses, a round begins again.
//
//   float_engines [--family vector|x87|any] [--seed N] [--cases N]
//
// Case i has seed N + i; a single one is listed first.

#include "cpu/x86/decode/decoder.hpp"
#include "cpu/x86/interp/block_cache.hpp"
#include "cpu/x86/interp/engine.hpp"
#include "jit/engine.hpp"
#include "tests/differential/insn_source.hpp"
#include "tests/differential/state_pair.hpp"
#include "tests/support/test_machine.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

namespace droste::differential {

namespace {

constexpr unsigned kRounds = 4, kMostInsns = 10;

struct Program {
    std::vector<u8> bytes;
    unsigned count = 0;  // instructions of a round
    std::string text;

    void add(std::span<const u8> insn, std::string_view name) {
        bytes.insert(bytes.end(), insn.begin(), insn.end());
        ++count;
        text += fmt::format("  {:<11}", name);
        for (const u8 byte : insn) {
            text += fmt::format(" {:02x}", byte);
        }
        text += '\n';
    }
    // MOV r64, imm64
    void load(unsigned reg, u64 value) {
        std::array<u8, 10> insn{static_cast<u8>(0x48 | reg >> 3),
                                static_cast<u8>(0xB8 | (reg & 7))};
        std::memcpy(insn.data() + 2, &value, 8);
        add(insn, "MOV");
    }
};

// The instruction behind MOVs that point its memory operand into scratch memory. Other registers
// that place_operands() arranges are of string instructions, which are not drawn.
void add_placed(Rng& rng, Program& program, const Candidate& candidate) {
    const Insn& insn = candidate.insn;
    if (insn.mem() && insn.base <= R15) {
        NativeState state;
        place_operands(rng, candidate, 0, state);
        if (insn.index < 16 && (insn.flags & kInsnVex) == 0) {
            program.load(insn.index, state.gpr[insn.index]);
        }
        program.load(insn.base, state.gpr[insn.base]);
    }
    program.add({candidate.bytes.data(), candidate.length}, mnemonic(insn.op));
}

// Integer instructions between the others: what the translator carries over, with no flag undefined.
constexpr std::array kIntegers = {Op::ADD,   Op::OR,     Op::ADC, Op::SBB, Op::AND,
                                  Op::SUB,   Op::XOR,    Op::CMP, Op::INC, Op::DEC,
                                  Op::SETcc, Op::CMOVcc, Op::MOV, Op::LEA};

bool wanted(const Insn& insn, Family drawn) {
    if (drawn == Family::Any) {
        return std::find(kIntegers.begin(), kIntegers.end(), insn.op) != kIntegers.end();
    }
    return !insn.ends_block();
}

Program make_program(Rng& rng, Family family, const CpuFeatures& features) {
    Program program;
    // The flags are read in each round: what is overwritten unread need not be right in between.
    program.add(std::array<u8, 1>{0x9F}, "LAHF");
    program.add(std::array<u8, 3>{0x0F, 0x90, 0xC0}, "SETO");
    const unsigned most = 3 + static_cast<unsigned>(rng.below(kMostInsns));
    while (program.count < most) {
        const Family drawn = rng.one_in(8) ? Family::Any : family;
        const Candidate candidate = draw(rng, drawn, features);
        if (wanted(candidate.insn, drawn)) {
            add_placed(rng, program, candidate);
        }
    }
    const auto back = static_cast<i32>(-static_cast<i64>(program.bytes.size()) - 5);
    std::array<u8, 5> jump{0xE9};
    std::memcpy(jump.data() + 1, &back, 4);
    program.add(jump, "JMP");
    return program;
}

// One engine on its machine.
class Side {
  public:
    Side(bool translated, const CpuFeatures& features) : machine_(features) {
        machine_.enter_long_mode(3);
        for (u64 page = 0; page < kScratchBytes; page += kPageBytes) {
            machine_.map(kScratchAddress + page, kGuestScratch + page);
        }
        machine_.map(kCodeAddress, kGuestCode, false);
        if (translated) {
            const jit::Options options{.code_bytes = std::size_t{8} << 20, .threshold = 0};
            auto code = jit::make_code_cache(*machine_.cpu().blocks, options);
            DROSTE_ASSERT(code.has_value());
            engine_ = jit::make_translator(std::move(code).value(), options);
        } else {
            engine_ = make_interpreter();
        }
    }

    Vcpu& cpu() { return machine_.cpu(); }

    void run(const Outcome& start, const Program& program, u64 instructions) {
        Vcpu& cpu = machine_.cpu();
        machine_.poke(kGuestCode, program.bytes);
        machine_.poke(kGuestScratch, start.scratch);
        reset_power_on(cpu);
        machine_.enter_long_mode(3);
        // Some cases find no translations, and all accesses miss at first.
        cpu.tlb.flush_all(cpu);
        load_guest(cpu.state, start.state);
        cpu.state.rip() = kCodeAddress;
        cpu.state.idtr = {0, 0};
        mode_changed(cpu);
        update_attention(cpu);
        first_ = cpu.icount;
        (void)engine_->run(cpu, instructions);
        (void)machine_.memory().read(kGuestScratch, scratch);
    }
    u64 retired() { return machine_.cpu().icount - first_; }

    std::array<u8, kScratchBytes> scratch{};

  private:
    test::TestMachine machine_;
    std::unique_ptr<ExecutionEngine> engine_;
    u64 first_ = 0;
};

// One line a difference.
std::string differences(Side& interpreted, Side& translated) {
    const CpuState& a = interpreted.cpu().state;
    const CpuState& b = translated.cpu().state;
    std::string text;
    const auto line = [&](const std::string& name, u64 x, u64 y) {
        if (x != y) {
            text += fmt::format("    {:10} interp {:#018x}  jit {:#018x}\n", name, x, y);
        }
    };
    for (unsigned i = 0; i < a.gpr.size(); ++i) {
        line(fmt::format("gpr{}", i), a.gpr[i], b.gpr[i]);
    }
    // A fault may come where the flags are overwritten unread.
    const u64 status = a.activity == Activity::Active ? 0 : rflags::kStatus;
    line("rflags", a.rflags() | status, b.rflags() | status);
    line("activity", static_cast<u64>(a.activity), static_cast<u64>(b.activity));
    line("retired", interpreted.retired(), translated.retired());
    line("cr2", a.cr2, b.cr2);
    line("mxcsr", a.mxcsr, b.mxcsr);
    for (unsigned i = 0; i < 16; ++i) {
        for (unsigned part = 0; part < 4; ++part) {
            u64 x = 0;
            u64 y = 0;
            std::memcpy(&x, a.ymm[i].bytes.data() + part * 8, 8);
            std::memcpy(&y, b.ymm[i].bytes.data() + part * 8, 8);
            line(fmt::format("ymm{}.{}", i, part), x, y);
        }
    }
    line("fcw", a.x87.control, b.x87.control);
    line("fsw", a.x87.status, b.x87.status);
    line("ftw", a.x87.tag_valid, b.x87.tag_valid);
    line("fop", a.x87.opcode, b.x87.opcode);
    line("fip", a.x87.instruction_pointer, b.x87.instruction_pointer);
    line("fdp", a.x87.data_pointer, b.x87.data_pointer);
    line("fcs", a.x87.instruction_selector, b.x87.instruction_selector);
    line("fds", a.x87.data_selector, b.x87.data_selector);
    for (unsigned i = 0; i < 8; ++i) {
        line(fmt::format("r{}.sig", i), a.x87.st[i].significand, b.x87.st[i].significand);
        line(fmt::format("r{}.exp", i), a.x87.st[i].sign_exponent, b.x87.st[i].sign_exponent);
    }
    for (std::size_t i = 0; i < kScratchBytes; ++i) {
        line(fmt::format("mem+{:#x}", i), interpreted.scratch[i], translated.scratch[i]);
    }
    return text;
}

class Pair {
  public:
    explicit Pair(const CpuFeatures& features)
        : interpreted_(false, features)
        , translated_(true, features) {}

    // Whether both engines agree.
    bool run_case(u64 seed, Family family, bool show) {
        Rng rng(seed * 0x2545F4914F6CDD1D + 1);
        const Program program = make_program(rng, family, interpreted_.cpu().features);
        if (show) {
            fmt::print("{}", program.text);
            std::fflush(stdout);
        }
        Outcome start{};
        randomize(rng, start.state, start.scratch);
        const u64 instructions = u64{program.count} * kRounds + rng.below(program.count);
        interpreted_.run(start, program, instructions);
        translated_.run(start, program, instructions);
        const std::string text = differences(interpreted_, translated_);
        if (!text.empty()) {
            fmt::print("case {}, {} instructions:\n{}{}", seed, instructions, program.text, text);
        }
        return text.empty();
    }

  private:
    Side interpreted_;
    Side translated_;
};

int usage(std::string_view what) {
    fmt::print(stderr,
               "float_engines: {}\nusage: float_engines [--family vector|x87|any] [--seed N] "
               "[--cases N]\n",
               what);
    return 2;
}

}  // namespace

int run(int argc, char** argv) {
    const std::map<std::string_view, Family> families = {
        {"any", Family::Any}, {"x87", Family::X87}, {"vector", Family::Vector}};
    Family family = Family::Vector;
    u64 seed = 1;
    u64 cases = 1000;
    for (int i = 1; i + 1 < argc; i += 2) {
        const std::string_view name = argv[i];
        if (name == "--seed") {
            seed = std::strtoull(argv[i + 1], nullptr, 0);
        } else if (name == "--cases") {
            cases = std::strtoull(argv[i + 1], nullptr, 0);
        } else if (name == "--family" && families.contains(argv[i + 1])) {
            family = families.at(argv[i + 1]);
        } else {
            return usage(fmt::format("what is {}?", name));
        }
    }
    // x87 instructions note more on a CPU that has not the two.
    CpuFeatures more_pointers = test::all_features();
    more_pointers.enable(Feature::FDP_EXCPTN_ONLY, false);
    more_pointers.enable(Feature::ZERO_FCS_FDS, false);
    std::array<Pair, 2> pairs{Pair{test::all_features()}, Pair{more_pointers}};
    for (u64 i = 0; i < cases; ++i) {
        if (!pairs[i % 2].run_case(seed + i, family, cases == 1)) {
            return 1;
        }
    }
    fmt::print("{} cases from seed {}: the engines agree\n", cases, seed);
    return 0;
}

}  // namespace droste::differential

int main(int argc, char** argv) {
    return droste::differential::run(argc, argv);
}
