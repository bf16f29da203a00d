#include "cpu/x86/decode/decoder.hpp"
#include "tests/fuzz/jit_program_writer.hpp"

#include <capstone/capstone.h>

#include <algorithm>
#include <array>

#include <fmt/format.h>

namespace droste::test {

namespace {

class Writer final : public ProgramWriter {
  public:
    Writer(u64 seed, bool control_flow, const CpuFeatures& features)
        : ProgramWriter(seed, features) {
        program_.user = one_in(3) || control_flow;
        if (control_flow) {
            // ENDBR_EN; SH_STK_EN; NO_TRACK_EN
            program_.u_cet = 4U | (one_in(2) ? 1U : 0U) | (one_in(2) ? 0x10U : 0U);
        }
        if (one_in(2)) {
            program_.place = {.code = 0x12'3456'0000, .data = 0x12'3470'0000};
        } else if (one_in(3)) {
            program_.place = {.code = 0x7FFF'E000, .data = 0x0800'0000};
        }
        std::array<u8, 15> registers = {RAX, RCX, RDX, RBX, RBP, RSI, RDI, 8,
                                        9,   10,  11,  12,  13,  14,  15};
        choose_registers(registers);
        GeneratorFilter filter;
        filter.rip_disp =
            static_cast<i32>(program_.place.data + 0x1000 - program_.place.code - 0x1000);
        make_generators(filter, true);
    }

    Program write() {
        program_.start = one_in(2) ? below(0x800) : 0x1000 - below(0x300);
        for (const u8 reg : {base1_, base2_}) {
            set_base(reg);
            pieces().back().fixed = true;
        }
        piece({0x48, 0xBC});  // mov rsp, imm64
        put(pieces().back().bytes, stack_place(), 8);
        pieces().back().fixed = true;
        mov_imm32(index_, one_in(4) ? ~below(64) : below(64));
        region(10 + static_cast<unsigned>(below(60)), 0);
        jump_to_start();
        std::vector<u32> routines;
        for (unsigned i = 0; i < kRoutines; ++i) {
            routines.push_back(static_cast<u32>(pieces().size()));
            if (tracked() && !one_in(8)) {
                endbranch();
            }
            region(1 + static_cast<unsigned>(below(8)), 2);
            if (one_in(4)) {
                piece({0xC2, static_cast<u8>(8 * below(3)), 0});  // ret imm16
            } else {
                piece({0xC3});  // ret
            }
        }
        return finish(routines);
    }

  private:
    // --- registers with a purpose ---------------------------------------------------------------

    u64 stack_place() {
        const u64 top = program_.place.stack_top();
        switch (below(4)) {
        case 0: return top - 0x1000 + 8 * below(4) + (one_in(4) ? below(8) : 0);  // across pages
        case 1: return top - 0x2000 + 8 * below(12);                              // low end
        case 2: return top - 8 * below(4);
        default: return top - 0x400 - 8 * below(64);
        }
    }

    u64 data_place() {
        const u64 data = program_.place.data;
        switch (below(10)) {
        case 0: return data + 0x1000 + below(128) - 64;           // writable, writable
        case 1: return data + 0x2000 + below(64) - 32;            // writable, read-only
        case 2: return data + 0x3000 + below(64) - 32;            // read-only, none
        case 3: return data + 0x4000 + below(0x1000);             // none below
        case 4: return data + 0x5000 + below(0x1000) - 0x100;     // for the supervisor
        case 5: return program_.place.code + 0x2000 + below(64);  // code, seldom code that runs
        default: return data + 0x200 + 8 * below(256);
        }
    }

    void set_base(u8 reg) {
        Piece& p = piece({static_cast<u8>(reg >= 8 ? 0x49 : 0x48),
                          static_cast<u8>(0xB8 | (reg & 7))});  // mov reg, imm64
        put(p.bytes, data_place(), 8);
    }
    void mov_imm32(u8 reg, u64 value) {
        Piece& p = piece({static_cast<u8>(reg >= 8 ? 0x49 : 0x48), 0xC7,
                          static_cast<u8>(0xC0 | (reg & 7))});  // mov reg, imm32
        put(p.bytes, value, 4);
    }
    void jump_to_start() { branch({0xE9}, Reference::Rel32, 0).fixed = true; }  // jmp rel32

    // --- code -------------------------------------------------------------------------------------

    bool tracked() const { return program_.u_cet != 0; }
    void endbranch() { piece({0xF3, 0x0F, 0x1E, 0xFA}); }
    // Perhaps with NOTRACK.
    void indirect(std::initializer_list<u8> bytes) {
        Piece& p = piece(bytes);
        if (tracked() && one_in(6)) {
            p.bytes.insert(p.bytes.begin(), 0x3E);
        }
    }
    void tracked_jump() {
        branch({0x48, 0xB8}, Reference::Abs64, 0);  // mov rax, target
        const std::size_t by = pieces().size() - 1;
        indirect({0xFF, 0xE0});  // jmp rax
        for (u64 i = below(3); i > 0; --i) {
            plain();
        }
        pieces()[by].target = here();
        one_in(8) ? plain() : endbranch();
    }

    // Without a shadow stack RDSSP does nothing and INCSSP faults.
    void shadow_stack() {
        const auto reg = static_cast<u8>(below(16));
        const u8 rex = reg >= 8 ? 0x41 : 0x40;
        const u8 wide = one_in(4) ? 0 : 8;
        if (one_in(4)) {
            // mov eax, 0 to 2; incssp rax
            piece({0xB8, static_cast<u8>(below(3)), 0, 0, 0, 0xF3, static_cast<u8>(0x40 | wide),
                   0x0F, 0xAE, 0xE8});
        } else if ((kept() >> reg & 1) == 0) {
            piece({0xF3, static_cast<u8>(rex | wide), 0x0F, 0x1E,
                   static_cast<u8>(0xC8 | (reg & 7))});  // rdssp reg
        }
    }

    void one(unsigned depth) override {
        if (tracked() && one_in(8)) {
            switch (below(4)) {
            case 0: endbranch(); break;
            case 1: shadow_stack(); break;
            default: tracked_jump();
            }
            return;
        }
        switch (below(depth < 2 ? 23 : 20)) {
        case 0: jump_forward(); break;
        case 1:
        case 2: jump_if(); break;
        case 3: set_base(one_in(2) ? base1_ : base2_); break;
        case 4: stack(); break;
        case 5: flags(); break;
        case 6: system(); break;
        case 7: store_to_code(Reference::Rel32); break;
        case 8: strings(); break;
        case 9: prefixed(); break;
        case 10: absolute(); break;
        case 11: stepped(); break;
        case 20: call(); break;
        case 21:
        case 22: loop(depth); break;
        default: plain(); break;
        }
    }

    // A segment, or 32-bit addresses.
    void prefixed() {
        plain();
        if (!pieces().empty() && pieces().back().bytes.size() < 14) {
            static constexpr std::array<u8, 3> kPrefixes = {0x64, 0x65, 0x67};
            Bytes& bytes = pieces().back().bytes;
            bytes.insert(bytes.begin(), kPrefixes[below(3)]);
        }
    }

    // Accesses by a register that a constant is added to in between, and mostly taken off again: in a
    // loop it moves on. Not by RAX, which often holds an address of code: what a store changes right
    // behind itself may read dead flags (docs/quirks.md, dead-status-flags).
    void stepped() {
        const bool first = base2_ == RAX || (base1_ != RAX && one_in(2));
        const u8 base = first ? base1_ : base2_;
        const u8 rex = base >= 8 ? 0x49 : 0x48;
        const u8 low = base & 7;
        const auto access = [&] {
            // mov, add, xor, cmp, test: no register is changed
            static constexpr std::array<u8, 5> kOpcodes = {0x89, 0x01, 0x31, 0x3B, 0x85};
            piece({rex, kOpcodes[below(5)], static_cast<u8>(0x40 | below(8) << 3 | low)});
            finish_operand(base);
        };
        const auto step = [&](u8 by) {
            switch (below(3)) {
            case 0: piece({rex, 0x83, static_cast<u8>(0xC0 | low), by}); break;
            case 1: {
                const auto down = static_cast<u8>(0x100 - by);
                piece({rex, 0x83, static_cast<u8>(0xE8 | low), down});
                break;
            }
            default: {  // lea base, [base + by]
                Piece& p = piece({static_cast<u8>(base >= 8 ? 0x4D : 0x48), 0x8D,
                                  static_cast<u8>(0x40 | low << 3 | low)});
                if (low == 4) {
                    p.bytes.push_back(0x24);
                }
                p.bytes.push_back(by);
            }
            }
        };
        const auto by = static_cast<u8>(1 + below(127));
        access();
        step(by);
        access();
        if (!one_in(4)) {
            step(static_cast<u8>(0x100 - by));
            access();
        }
    }

    // Addresses without a register.
    void absolute() {
        const u64 address = data_place();
        if (one_in(2)) {
            // mov accumulator, [moffs64] and back
            Piece& p =
                piece({static_cast<u8>(one_in(2) ? 0x48 : 0x40), static_cast<u8>(0xA0 | below(4))});
            put(p.bytes, address, 8);
        } else {
            // op reg, [disp32]: ADD, OR, ADC ... CMP, MOV
            const u8 opcode = one_in(4) ? u8{0x89} : static_cast<u8>(below(8) << 3 | below(4));
            Piece& p = piece({0x48, opcode, static_cast<u8>(below(4) << 3 | 4), 0x25});
            put(p.bytes, address, 4);
        }
    }

    void jump_forward() {
        const u32 target = here() + 1 + static_cast<u32>(below(3));
        switch (below(4)) {
        case 0: branch({0xEB}, Reference::Rel8, target); break;   // jmp rel8
        case 1: branch({0xE9}, Reference::Rel32, target); break;  // jmp rel32
        default: {
            branch({0x48, 0xB8}, Reference::Abs64, target + 1);  // mov rax, target
            piece({0xFF, 0xE0});                                 // jmp rax
        }
        }
    }

    void jump_if() {
        const u32 target = here() + 1 + static_cast<u32>(below(3));
        const auto condition = static_cast<u8>(below(16));
        if (one_in(2)) {
            // jcc rel8
            branch({static_cast<u8>(0x70 | condition)}, Reference::Rel8, target);
        } else if (one_in(8)) {
            // loopne, loope, loop, jrcxz
            branch({static_cast<u8>(0xE0 | below(4))}, Reference::Rel8, target);
        } else {
            // jcc rel32
            branch({0x0F, static_cast<u8>(0x80 | condition)}, Reference::Rel32, target);
        }
    }

    void loop(unsigned depth) {
        const bool by_rcx = one_in(4) && base1_ != RCX && base2_ != RCX && index_ != RCX;
        const u8 counter = by_rcx ? u8{RCX} : counter_;
        mov_imm32(counter, 1 + below(12));
        const u32 start = here();
        region(1 + static_cast<unsigned>(below(6)), depth + 1);
        if (by_rcx) {
            branch({0xE2}, Reference::Rel8, start);  // loop start
            return;
        }
        const u8 rex = counter >= 8 ? 0x49 : 0x48;
        switch (below(3)) {
        case 0: piece({rex, 0xFF, static_cast<u8>(0xC8 | (counter & 7))}); break;     // dec
        case 1: piece({rex, 0x83, static_cast<u8>(0xE8 | (counter & 7)), 1}); break;  // sub ..., 1
        default: piece({rex, 0x83, static_cast<u8>(0xC0 | (counter & 7)), 0xFF});     // add ..., -1
        }
        branch({0x0F, static_cast<u8>(one_in(2) ? 0x85 : 0x8F)}, Reference::Rel32, start);
    }

    void call() {
        const u32 routine = kRoutine + static_cast<u32>(below(kRoutines));
        switch (below(3)) {
        case 0:
            branch({0x48, 0xB8}, Reference::Abs64, routine);  // mov rax, routine
            indirect({0xFF, 0xD0});                           // call rax
            break;
        case 1:
            branch({0x48, 0xB8}, Reference::Abs64, routine);  // mov rax, routine
            piece({0x50});                                    // push rax
            indirect({0xFF, 0x14, 0x24});                     // call [rsp]
            piece({0x48, 0x8D, 0x64, 0x24, 0x08});            // lea rsp, [rsp+8]
            break;
        default: branch({0xE8}, Reference::Rel32, routine);  // call rel32
        }
    }

    void stack() {
        const u8 reg = static_cast<u8>(below(16));
        const bool high = reg >= 8;
        const u8 rex = high ? 0x41 : 0x40;
        switch (below(12)) {
        case 0: piece({0x6A, static_cast<u8>(rng_())}); break;  // push imm8
        case 1: put(piece({0x68}).bytes, rng_(), 4); break;     // push imm32
        case 2:                                                 // push [base1 + disp8]
            piece({static_cast<u8>(base1_ >= 8 ? 0x41 : 0x40), 0xFF,
                   static_cast<u8>(0x74 | (base1_ & 7))});
            finish_operand(base1_);
            break;
        case 3:  // pop [base1 + disp8]
            piece({static_cast<u8>(base1_ >= 8 ? 0x41 : 0x40), 0x8F,
                   static_cast<u8>(0x44 | (base1_ & 7))});
            finish_operand(base1_);
            break;
        case 4: piece({0xC8, static_cast<u8>(8 * below(8)), 0, static_cast<u8>(below(4))}); break;
        case 5: piece({0xC9}); break;                                    // enter; leave
        case 6: piece({0x66, static_cast<u8>(0x50 | below(8))}); break;  // push r16
        case 7:
            if ((kept() >> reg & 1) == 0) {
                piece({rex, static_cast<u8>(0x58 | (reg & 7))});  // pop reg
            }
            break;
        default: piece({rex, static_cast<u8>(0x50 | (reg & 7))});  // push reg
        }
    }
    void finish_operand(u8 base) {
        if ((base & 7) == 4) {
            pieces().back().bytes.push_back(0x24);  // SIB
        }
        pieces().back().bytes.push_back(static_cast<u8>(8 * below(8)));
    }

    // Readers of flags that the generator gives seldom.
    void flags() {
        switch (below(7)) {
        case 0: piece({0x9C, 0x48, 0x81, 0x24, 0x24, 0xC5, 0x08, 0x00, 0x00}); break;
        case 1: piece({0x0F, static_cast<u8>(0x90 | below(16)), 0xC0}); break;  // setcc al
        case 2: piece({0x48, 0x83, 0xD0, 0x00}); break;                         // adc rax, 0
        case 3: piece({0x48, 0x19, 0xD2}); break;                               // sbb rdx, rdx
        case 4: piece({0x48, 0xD1, 0xD0}); break;                               // rcl rax, 1
        case 5: load_flags(); break;
        default: piece({static_cast<u8>(one_in(2) ? 0xF9 : 0xF8)});  // stc, clc
        }
    }

    void system() {
        switch (below(12)) {
        case 0: piece({0xFA}); break;                                         // cli
        case 1: piece({0xFB}); break;                                         // sti
        case 2: piece({0xFC}); break;                                         // cld
        case 3: piece({0x0F, 0xA2}); break;                                   // cpuid
        case 4: piece({0x0F, 0x31}); break;                                   // rdtsc
        case 5: piece({0x0F, 0x20, 0xD8, 0x0F, 0x22, 0xD8}); break;           // mov cr3, cr3 by rax
        case 6: piece({0x0F, 0x01, static_cast<u8>(0x38 | 4), 0x24}); break;  // invlpg [rsp]
        case 7: piece({0x0F, 0x01, 0x3D, 0, 0, 0, 0}); break;                 // invlpg [next]
        case 8: piece({0xCC}); break;                                         // int3
        case 9: piece({0xF3, 0x90}); break;                                   // pause
        case 10: piece({0x8E, 0xD0}); break;                                  // mov ss, ax
        default: piece({0x0F, 0x0B}); break;                                  // ud2
        }
    }

    // One piece: a repetition that comes with any RCX might run over itself, and when the new bytes
    // are seen then depends on the budget.
    void strings() {
        Piece& p =
            piece({0x48, 0xC7, 0xC1, static_cast<u8>(below(20)), 0, 0, 0});  // mov rcx, imm32
        for (const u8 opcode : std::array<u8, 2>{0xBE, 0xBF}) {
            put(p.bytes, 0x48 | u64{opcode} << 8, 2);  // mov rsi, imm64; mov rdi, imm64
            put(p.bytes, data_place(), 8);
        }
        static constexpr std::array<u8, 5> kOps = {0xA4, 0xA6, 0xAA, 0xAC, 0xAE};
        const u8 op = static_cast<u8>(kOps[below(5)] | below(2));
        put(p.bytes, (0xF2 | below(2)) | (one_in(2) ? 0x48U : 0x40U) << 8 | u64{op} << 16, 3);
    }
};

u64 offset_of(const std::vector<u64>& offsets, u32 piece, u32 at) {
    return offsets[std::min<std::size_t>(piece, offsets.size() - 1)] + at;
}

void refer(const Piece& p, u64 place, u64 to, u64 base, u8* bytes) {
    // Relative to the instruction's end: an immediate may follow.
    const u64 end = place + p.bytes.size();
    const u64 distance = to - end;
    switch (p.reference) {
    case Piece::Reference::None: break;
    case Piece::Reference::Rel8:
        bytes[p.at] = static_cast<i64>(distance) == static_cast<i8>(distance)
                          ? static_cast<u8>(distance)
                          : u8{0};
        break;
    case Piece::Reference::Rel32:
        for (unsigned i = 0; i < 4; ++i) {
            bytes[p.at + i] = static_cast<u8>(distance >> (8 * i));
        }
        break;
    case Piece::Reference::Abs32:
        for (unsigned i = 0; i < 4; ++i) {
            bytes[p.at + i] = static_cast<u8>((base + to) >> (8 * i));
        }
        break;
    case Piece::Reference::Abs64:
        for (unsigned i = 0; i < 8; ++i) {
            bytes[p.at + i] = static_cast<u8>((base + to) >> (8 * i));
        }
        break;
    }
}

}  // namespace

Program make_program(u64 seed, const ProgramKind& kind, const CpuFeatures& features) {
    return kind.code_bits == 32 ? make_program32(seed, features)
                                : Writer(seed, kind.control_flow, features).write();
}

Image Program::image(const CpuFeatures& features) const {
    constexpr std::size_t kBytes = ProgramPlace::kCodePages * kPageBytes;
    Image image;
    image.start = start;
    image.bytes.assign(kBytes, 0xCC);
    image.lengths.assign(kBytes, 0);
    image.piece_begins.assign(kBytes, false);
    std::vector<u64> offsets;
    u64 at = start;
    for (const Piece& p : pieces) {
        offsets.push_back(at);
        at += p.bytes.size();
    }
    offsets.push_back(at);
    for (std::size_t i = 0; i < pieces.size(); ++i) {
        const Piece& p = pieces[i];
        if (p.bytes.empty() || offsets[i] + p.bytes.size() > kBytes) {
            continue;
        }
        u8* bytes = image.bytes.data() + offsets[i];
        std::copy(p.bytes.begin(), p.bytes.end(), bytes);
        refer(p, offsets[i], offset_of(offsets, p.target, p.target_at), place.code, bytes);
        image.piece_begins[offsets[i]] = true;
        for (std::size_t done = 0; done < p.bytes.size();) {
            Insn insn;
            if (decode({bytes + done, p.bytes.size() - done}, {static_cast<u8>(code_bits), false},
                       features, insn) != DecodeResult::Ok) {
                break;
            }
            image.lengths[offsets[i] + done] = insn.length;
            done += insn.length;
        }
    }
    return image;
}

std::string Program::listing(const CpuFeatures& features) const {
    const Image made = image(features);
    std::string text;
    csh handle = 0;
    if (cs_open(CS_ARCH_X86, code_bits == 32 ? CS_MODE_32 : CS_MODE_64, &handle) != CS_ERR_OK) {
        return text;
    }
    for (u64 at = start; at < made.bytes.size(); ++at) {
        if (made.lengths[at] == 0) {
            continue;
        }
        cs_insn* insn = nullptr;
        std::string raw;
        for (unsigned i = 0; i < made.lengths[at]; ++i) {
            raw += fmt::format("{:02x} ", made.bytes[at + i]);
        }
        if (cs_disasm(handle, &made.bytes[at], made.lengths[at], place.code + at, 1, &insn) == 1) {
            text += fmt::format("{}{:x}  {:<34} {} {}\n", made.piece_begins[at] ? ' ' : '+',
                                place.code + at, raw, insn->mnemonic, insn->op_str);
            cs_free(insn, 1);
        } else {
            text += fmt::format(" {:x}  {:<34} ?\n", place.code + at, raw);
        }
    }
    cs_close(&handle);
    return text;
}

}  // namespace droste::test
