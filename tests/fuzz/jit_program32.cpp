// Programs of 32-bit code: what jit_program.cpp has, by its other encodings, and what 64-bit code has
// not: one-byte INC and DEC, PUSHA and POPA, segment registers that are loaded, addresses that wrap.

#include "tests/fuzz/jit_program_writer.hpp"

#include <algorithm>
#include <array>

namespace droste::test {

namespace {

class Writer32 final : public ProgramWriter {
  public:
    Writer32(u64 seed, const CpuFeatures& features) : ProgramWriter(seed, features) {
        program_.code_bits = 32;
        program_.user = one_in(3);
        program_.place.mask = 0xFFFF'FFFF;
        // Code that ends at 4 GiB, around 2 GiB; data around 4 GiB, with the stack behind.
        switch (below(4)) {
        case 0:
            program_.place.code = 0xFFFF'C000;
            program_.place.data = 0xFFC0'0000;
            break;
        case 1:
            program_.place.code = 0x7FFF'E000;
            program_.place.data = 0xFFFF'E000;
            break;
        default: break;
        }
        std::array<u8, 7> registers = {RAX, RCX, RDX, RBX, RBP, RSI, RDI};
        choose_registers(registers);
        GeneratorFilter filter;
        filter.code_bits = 32;
        make_generators(filter, false);
    }

    Program write() {
        program_.start = one_in(2) ? below(0x800) : 0x1000 - below(0x300);
        for (const u8 reg : {base1_, base2_}) {
            mov(reg, data_place());
            pieces().back().fixed = true;
        }
        mov(RSP, stack_place());
        pieces().back().fixed = true;
        mov(index_, one_in(4) ? ~below(64) : below(64));
        region(10 + static_cast<unsigned>(below(60)), 0);
        branch({0xE9}, Reference::Rel32, 0).fixed = true;
        std::vector<u32> routines;
        for (unsigned i = 0; i < kRoutines; ++i) {
            routines.push_back(here());
            region(1 + static_cast<unsigned>(below(8)), 2);
            if (one_in(4)) {
                piece({0xC2, static_cast<u8>(4 * below(3)), 0});  // ret imm16
            } else {
                piece({0xC3});  // ret
            }
        }
        return finish(routines);
    }

  private:
    void mov(unsigned reg, u64 value) {
        put(piece({static_cast<u8>(0xB8 | reg)}).bytes, value, 4);  // mov reg, imm32
    }

    u64 stack_place() {
        const u64 top = program_.place.stack_top();
        switch (below(4)) {
        case 0: return top - 0x1000 + 4 * below(8) + (one_in(4) ? below(4) : 0);  // across pages
        case 1: return top - 0x2000 + 4 * below(24);                              // low end
        case 2: return top - 4 * below(8);
        default: return top - 0x400 - 4 * below(128);
        }
    }

    u64 data_place() {
        const u64 data = program_.place.data;
        switch (below(11)) {
        case 0: return data + 0x1000 + below(128) - 64;           // writable, writable
        case 1: return data + 0x2000 + below(64) - 32;            // writable, read-only
        case 2: return data + 0x3000 + below(64) - 32;            // read-only, none
        case 3: return data + 0x4000 + below(0x1000);             // none below
        case 4: return data + 0x5000 + below(0x1000) - 0x100;     // for the supervisor
        case 5: return program_.place.code + 0x2000 + below(64);  // code, seldom code that runs
        case 6: return below(64) - 32;                            // the ends of all addresses
        default: return data + 0x200 + 4 * below(512);
        }
    }

    // --- code -------------------------------------------------------------------------------------

    void one(unsigned depth) override {
        switch (below(depth < 2 ? 25 : 22)) {
        case 0: jump_forward(); break;
        case 1:
        case 2: jump_if(); break;
        case 3: mov(one_in(2) ? base1_ : base2_, data_place()); break;
        case 4:
        case 5: stack(); break;
        case 6: flags(); break;
        case 7: system(); break;
        case 8: store_to_code(Reference::Abs32); break;
        case 9: strings(); break;
        case 10: prefixed(); break;
        case 11: absolute(); break;
        case 12: segments(); break;
        case 22: call(); break;
        case 23:
        case 24: loop(depth); break;
        default: plain(); break;
        }
    }

    // In another segment, or with 16-bit addresses.
    void prefixed() {
        plain();
        if (!pieces().empty() && pieces().back().bytes.size() < 14) {
            static constexpr std::array<u8, 7> kPrefixes = {0x64, 0x65, 0x26, 0x2E,
                                                            0x36, 0x3E, 0x67};
            Bytes& bytes = pieces().back().bytes;
            bytes.insert(bytes.begin(), kPrefixes[below(one_in(4) ? 7 : 6)]);
        }
    }

    // Addresses without a register.
    void absolute() {
        const u64 address = data_place();
        if (one_in(2)) {
            // mov accumulator, [moffs32] and back
            put(piece({static_cast<u8>(0xA0 | below(4))}).bytes, address, 4);
        } else {
            // op reg, [disp32]: ADD, OR, ADC ... CMP, MOV
            const u8 opcode = one_in(4) ? u8{0x89} : static_cast<u8>(below(8) << 3 | below(4));
            put(piece({opcode, static_cast<u8>(below(3) << 3 | 5)}).bytes, address, 4);
        }
    }

    void jump_forward() {
        const u32 target = here() + 1 + static_cast<u32>(below(3));
        switch (below(4)) {
        case 0: branch({0xEB}, Reference::Rel8, target); break;   // jmp rel8
        case 1: branch({0xE9}, Reference::Rel32, target); break;  // jmp rel32
        default:
            branch({0xB8}, Reference::Abs32, target + 1);  // mov eax, target
            piece({0xFF, 0xE0});                           // jmp eax
        }
    }

    void jump_if() {
        const u32 target = here() + 1 + static_cast<u32>(below(3));
        const auto condition = static_cast<u8>(below(16));
        if (one_in(2)) {
            // jcc rel8
            branch({static_cast<u8>(0x70 | condition)}, Reference::Rel8, target);
        } else if (one_in(8)) {
            // loopne, loope, loop, jecxz; by ECX or CX
            const auto opcode = static_cast<u8>(0xE0 | below(4));
            if (one_in(4)) {
                branch({0x67, opcode}, Reference::Rel8, target);
            } else {
                branch({opcode}, Reference::Rel8, target);
            }
        } else {
            // jcc rel32
            branch({0x0F, static_cast<u8>(0x80 | condition)}, Reference::Rel32, target);
        }
    }

    void loop(unsigned depth) {
        const bool by_ecx = one_in(4) && base1_ != RCX && base2_ != RCX && index_ != RCX;
        const u8 counter = by_ecx ? u8{RCX} : counter_;
        mov(counter, 1 + below(12));
        const u32 start = here();
        region(1 + static_cast<unsigned>(below(6)), depth + 1);
        if (by_ecx) {
            branch({0xE2}, Reference::Rel8, start);  // loop start
            return;
        }
        switch (below(3)) {
        case 0: piece({static_cast<u8>(0x48 | counter)}); break;           // dec
        case 1: piece({0x83, static_cast<u8>(0xE8 | counter), 1}); break;  // sub ..., 1
        default: piece({0x83, static_cast<u8>(0xC0 | counter), 0xFF});     // add ..., -1
        }
        branch({0x0F, static_cast<u8>(one_in(2) ? 0x85 : 0x8F)}, Reference::Rel32, start);
    }

    void call() {
        const u32 routine = kRoutine + static_cast<u32>(below(kRoutines));
        switch (below(3)) {
        case 0:
            branch({0xB8}, Reference::Abs32, routine);  // mov eax, routine
            piece({0xFF, 0xD0});                        // call eax
            break;
        case 1:
            branch({0xB8}, Reference::Abs32, routine);  // mov eax, routine
            piece({0x50});                              // push eax
            piece({0xFF, 0x14, 0x24});                  // call [esp]
            piece({0x8D, 0x64, 0x24, 0x04});            // lea esp, [esp+4]
            break;
        default: branch({0xE8}, Reference::Rel32, routine);  // call rel32
        }
    }

    void stack() {
        const u8 reg = static_cast<u8>(below(8));
        switch (below(15)) {
        case 0: piece({0x6A, static_cast<u8>(rng_())}); break;  // push imm8
        case 1: put(piece({0x68}).bytes, rng_(), 4); break;     // push imm32
        case 2:                                                 // push [base1 + disp8]
            piece({0xFF, static_cast<u8>(0x70 | base1_), static_cast<u8>(4 * below(16))});
            break;
        case 3:  // pop [base1 + disp8]
            piece({0x8F, static_cast<u8>(0x40 | base1_), static_cast<u8>(4 * below(16))});
            break;
        case 4: piece({0xC8, static_cast<u8>(4 * below(8)), 0, static_cast<u8>(below(4))}); break;
        case 5: piece({0xC9}); break;                               // enter; leave
        case 6: piece({0x66, static_cast<u8>(0x50 | reg)}); break;  // push r16
        case 7: piece({0x60}); break;                               // pusha
        case 8: piece({0x60, 0x61}); break;                         // pusha; popa
        case 9:
            if ((kept() >> reg & 1) == 0) {
                piece({static_cast<u8>(0x58 | reg)});  // pop reg
            }
            break;
        case 10:  // add or sub esp, imm8; lea esp, [esp+imm8]
            switch (below(3)) {
            case 0: piece({0x83, 0xC4, static_cast<u8>(4 * below(8))}); break;
            case 1: piece({0x83, 0xEC, static_cast<u8>(4 * below(8))}); break;
            default: piece({0x8D, 0x64, 0x24, static_cast<u8>(4 * below(64))}); break;
            }
            break;
        default: piece({static_cast<u8>(0x50 | reg)});  // push reg
        }
    }

    // Readers of flags that the generator gives seldom.
    void flags() {
        switch (below(8)) {
        case 0: piece({0x9C, 0x81, 0x24, 0x24, 0xC5, 0x08, 0x00, 0x00}); break;
        case 1: piece({0x0F, static_cast<u8>(0x90 | below(16)), 0xC0}); break;  // setcc al
        case 2: piece({0x83, 0xD0, 0x00}); break;                               // adc eax, 0
        case 3: piece({0x19, 0xD2}); break;                                     // sbb edx, edx
        case 4: piece({0xD1, 0xD0}); break;                                     // rcl eax, 1
        case 5: load_flags(); break;
        case 6: piece({0xCE}); break;                                // into
        default: piece({static_cast<u8>(one_in(2) ? 0xF9 : 0xF8)});  // stc, clc
        }
    }

    // A data segment that is not flat, or is again. Mostly not DS for long.
    void segments() {
        namespace sel = program_selector;
        static constexpr std::array<u16, 10> kSelectors = {
            sel::kFlat,  sel::kFlat,     sel::kFlat,       sel::kSupervisor, sel::kShort,
            sel::kBased, sel::kReadOnly, sel::kExpandDown, sel::kNull,       0xFFF0};
        static constexpr std::array<u8, 5> kRegs = {ES, DS, FS, GS, SS};
        const u8 reg = kRegs[below(one_in(8) ? 5 : 4)];
        const u64 selector = kSelectors[below(kSelectors.size())];
        switch (below(4)) {
        case 0:  // push imm32; pop es/ds
            put(piece({0x68}).bytes, selector, 4);
            pieces().back().bytes.push_back(one_in(2) ? 0x07 : 0x1F);
            break;
        case 1: piece({static_cast<u8>(one_in(2) ? 0x06 : 0x1E)}); break;  // push es, push ds
        default:                                                           // mov eax; mov seg, ax
            mov(RAX, selector);
            put(pieces().back().bytes, 0x8E | u64{0xC0U | unsigned{reg} << 3} << 8, 2);
        }
    }

    void system() {
        switch (below(14)) {
        case 0: piece({0xFA}); break;                                // cli
        case 1: piece({0xFB}); break;                                // sti
        case 2: piece({0xFC}); break;                                // cld
        case 3: piece({0x0F, 0xA2}); break;                          // cpuid
        case 4: piece({0x0F, 0x31}); break;                          // rdtsc
        case 5: piece({0x0F, 0x20, 0xD8, 0x0F, 0x22, 0xD8}); break;  // mov eax, cr3; mov cr3, eax
        case 6: piece({0x0F, 0x01, 0x3C, 0x24}); break;              // invlpg [esp]
        case 7: branch({0x0F, 0x01, 0x3D}, Reference::Abs32, here()); break;  // invlpg [...]
        case 8: piece({0xCC}); break;                                         // int3
        case 9: piece({0xF3, 0x90}); break;                                   // pause
        case 10: piece({0x62, static_cast<u8>(0x40 | base1_), 0}); break;     // bound eax, [base1]
        case 11: piece({0xC4, static_cast<u8>(0x40 | base1_), 0}); break;     // les eax, [base1]
        case 12: {                                                            // jmp far, call far
            Piece& p =
                branch({static_cast<u8>(one_in(2) ? 0xEA : 0x9A)}, Reference::Abs32, here() + 1);
            put(p.bytes, program_.user ? program_selector::kUserCode : program_selector::kCode, 2);
            break;
        }
        default: piece({0x0F, 0x0B}); break;  // ud2
        }
    }

    // One piece: a repetition that comes with any ECX might run over itself, and when the new bytes
    // are seen then depends on the budget.
    void strings() {
        Piece& p = piece({0xB9, static_cast<u8>(below(20)), 0, 0, 0});  // mov ecx, imm32
        for (const u8 opcode : std::array<u8, 2>{0xBE, 0xBF}) {
            put(p.bytes, opcode, 1);  // mov esi, imm32; mov edi, imm32
            put(p.bytes, data_place(), 4);
        }
        static constexpr std::array<u8, 5> kOps = {0xA4, 0xA6, 0xAA, 0xAC, 0xAE};
        const u8 op = static_cast<u8>(kOps[below(5)] | below(2));
        put(p.bytes, (0xF2 | below(2)) | u64{op} << 8, 2);
    }
};

}  // namespace

Program make_program32(u64 seed, const CpuFeatures& features) {
    return Writer32(seed, features).write();
}

}  // namespace droste::test
