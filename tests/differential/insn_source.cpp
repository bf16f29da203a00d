#include "tests/differential/insn_source.hpp"

#include "cpu/x86/decode/decoder.hpp"
#include "cpu/x86/model/native_features.hpp"

#include <algorithm>
#include <cstring>
#include <string_view>

namespace droste::differential {

namespace {

// What cannot be compared one instruction at a time in user mode.
constexpr bool excluded(Op op) {
    switch (op) {
    // Branches, and what enters the kernel.
    case Op::JMP_NEAR:
    case Op::CALL_NEAR:
    case Op::RET_NEAR:
    case Op::Jcc:
    case Op::JrCXZ:
    case Op::LOOP:
    case Op::LOOPE:
    case Op::LOOPNE:
    case Op::INT:
    case Op::INT3:
    case Op::INT1:
    case Op::INTO:
    case Op::JMP_FAR:
    case Op::CALL_FAR:
    case Op::RET_FAR:
    case Op::IRET:
    case Op::SYSCALL:
    case Op::SYSENTER:
    case Op::SYSRET:
    case Op::SYSEXIT:
    // Values that are the CPU's own.
    case Op::CPUID:
    case Op::RDTSC:
    case Op::RDTSCP:
    case Op::RDPMC:
    case Op::RDPID:
    case Op::RDRAND:
    case Op::RDSEED:
    case Op::XGETBV:
    case Op::SGDT:
    case Op::SIDT:
    case Op::SLDT:
    case Op::STR:
    case Op::SMSW:
    case Op::RDFSBASE:
    case Op::RDGSBASE:
    case Op::WRFSBASE:
    case Op::WRGSBASE:
    case Op::RDPKRU:
    case Op::WRPKRU:
    case Op::MONITOR:
    case Op::MWAIT:
    case Op::UMONITOR:
    case Op::UMWAIT:
    case Op::TPAUSE:
    // Segment state: selectors mean other descriptors here and there.
    case Op::MOV_SREG_TO:
    case Op::MOV_SREG_FROM:
    case Op::PUSH_SREG:
    case Op::POP_SREG:
    case Op::LSS:
    case Op::LFS:
    case Op::LGS:
    case Op::LAR:
    case Op::LSL:
    case Op::VERR:
    case Op::VERW:
    case Op::LES:
    case Op::LDS:
    // RFLAGS bits beyond the status flags; the kernel's view of IF, IOPL, TF.
    case Op::PUSHF:
    case Op::POPF:
    // State images hold pointers and reserved bytes of the CPU's own; tests/unit/fpu compares them
    // field by field.
    case Op::FXSAVE:
    case Op::FXRSTOR:
    case Op::XSAVE:
    case Op::XRSTOR:
    case Op::XSAVEOPT:
    case Op::XSAVEC:
    case Op::XSAVES:
    case Op::XRSTORS:
    case Op::FNSAVE:
    case Op::FRSTOR:
    case Op::FNSTENV:
    case Op::FLDENV:
    // Vendor-specific here (the native CPU's manufacturer defines them, Intel does not): VMX, and
    // hints.
    case Op::VMCALL:
    case Op::VMLAUNCH:
    case Op::VMRESUME:
    case Op::VMXOFF:
    case Op::VMXON:
    case Op::VMCLEAR:
    case Op::VMPTRLD:
    case Op::VMPTRST:
    case Op::VMREAD:
    case Op::VMWRITE:
    case Op::VMFUNC:
    case Op::INVEPT:
    case Op::INVVPID:
    case Op::GETSEC:
    case Op::SERIALIZE:
    case Op::UD: return true;
    default: return false;
    }
}

bool in_family(const Insn& insn, Family family) {
    const bool vector = (insn.flags & (kInsnNative | kInsnVex)) != 0;
    switch (family) {
    case Family::Any: return true;
    case Family::Integer: return !vector && insn.map != OpcodeMap::X87;
    case Family::X87: return insn.map == OpcodeMap::X87;
    case Family::Vector: return vector;
    }
    return false;
}

unsigned draw_bytes(Rng& rng, Family family, std::array<u8, 16>& out) {
    unsigned n = 0;
    const auto put = [&](u64 byte) { out[n++] = static_cast<u8>(byte); };
    static constexpr std::array<u8, 11> kPrefixes = {0x66, 0x66, 0xF2, 0xF3, 0xF2, 0xF3,
                                                     0x67, 0x66, 0xF0, 0x3E, 0x2E};
    const u64 kind = family == Family::X87      ? 0
                     : family == Family::Vector ? 2 + rng.below(6)
                                                : rng.below(8);
    const bool vex = kind >= 5;
    unsigned prefixes = 0;
    while (prefixes < 3 && rng.one_in(vex ? 24 : 3)) {
        put(kPrefixes[rng.below(kPrefixes.size())]);
        ++prefixes;
    }
    if (vex) {
        put(0xC4);
        put((rng.next() & 0xE0) | (1 + rng.below(3)));
        // vvvv is often required to be 1111b.
        put((rng.next() & 0x87) | (rng.one_in(3) ? 0x78 : rng.next() & 0x78));
        put(rng.next());
    } else {
        if (rng.one_in(2)) {
            put(0x40 | (rng.next() & 0xF));
        }
        if (family == Family::X87) {
            put(0xD8 + rng.below(8));
        } else {
            if (kind >= 2) {
                put(0x0F);
                if (kind == 3) {
                    put(0x38);
                } else if (kind == 4) {
                    put(0x3A);
                }
            }
            put(rng.next());
        }
    }
    while (n < out.size()) {
        put(rng.one_in(4) ? rng.below(4) : rng.next());  // ModRM, SIB, displacement, immediate
    }
    return n;
}

}  // namespace

bool native_decodes(std::span<const u8> bytes, const Insn& insn) {
    static const CpuFeatures native = native_cpuid_features();
    static const bool avx = NativeFeatures{}.has(Feature::AVX);
    const bool needs_avx = insn.vex() && (insn.flags & kInsnNative) != 0;
    Insn decoded;
    return (avx || !needs_avx) && decode(bytes, {64, false}, native, decoded) == DecodeResult::Ok &&
           decoded.op == insn.op && decoded.length == insn.length;
}

Candidate draw(Rng& rng, Family family, const CpuFeatures& features) {
    Candidate candidate;
    while (true) {
        const unsigned count = std::min(draw_bytes(rng, family, candidate.bytes), 15U);
        const std::span<const u8> bytes{candidate.bytes.data(), count};
        candidate.insn = Insn{};
        if (decode(bytes, {64, false}, features, candidate.insn) != DecodeResult::Ok ||
            excluded(candidate.insn.op) || !in_family(candidate.insn, family) ||
            !native_decodes(bytes, candidate.insn)) {
            continue;
        }
        const bool segment_based = candidate.insn.seg == FS || candidate.insn.seg == GS;
        const bool rip_relative = (candidate.insn.flags & kInsnRipRelative) != 0;
        const bool absolute = candidate.insn.mem() && candidate.insn.base == kZeroSlot;
        if (segment_based || rip_relative || (absolute && !rng.one_in(16))) {
            continue;  // FS and GS belong to the C library; the others have nothing to aim with
        }
        candidate.length = candidate.insn.length;
        return candidate;
    }
}

void place_operands(Rng& rng, const Candidate& candidate, u64 rip, NativeState& state) {
    (void)rip;
    const auto somewhere = [&] {
        // Mostly anywhere inside; sometimes at the edge between two pages, rarely over the end into
        // nothing.
        if (rng.one_in(64)) {
            return kScratchAddress + kScratchBytes - rng.below(40);
        }
        if (rng.one_in(4)) {
            return kScratchAddress + kPageBytes * (1 + rng.below(3)) - rng.below(40);
        }
        const u64 aligned = kScratchAddress + 256 + rng.below(kScratchBytes - 1024);
        return rng.one_in(2) ? aligned & ~u64{31} : aligned;
    };
    state.gpr[RSP] = somewhere() & ~u64{7};
    state.gpr[RBP] = somewhere();
    state.gpr[RSI] = somewhere();
    state.gpr[RDI] = somewhere();
    const Insn& insn = candidate.insn;
    const bool string = insn.op >= Op::MOVS && insn.op <= Op::OUTS;
    if (string || insn.op == Op::XLAT || insn.op == Op::MASKMOVDQU || insn.op == Op::MASKMOVQ) {
        if (insn.rep() || insn.repne()) {
            state.gpr[RCX] = rng.below(40);
        }
        if (insn.op == Op::XLAT) {
            state.gpr[RBX] = somewhere();
        }
    }
    if (!insn.mem() || insn.base > R15) {
        return;
    }
    const bool vsib = insn.index < 16 && (insn.flags & kInsnVex) != 0 &&
                      std::string_view(mnemonic(insn.op)).find("GATHER") != std::string_view::npos;
    if (vsib) {
        for (unsigned half = 0; half < 4; ++half) {
            const u64 small = (rng.next() & 0xFF) | ((rng.next() & 0xFF) << 32);
            const std::size_t offset = half < 2 ? 160 + insn.index * 16U + half * 8
                                                : 576 + insn.index * 16U + (half - 2) * 8;
            std::memcpy(state.xsave.data() + offset, &small, 8);
        }
        state.gpr[insn.base] = kScratchAddress + 2048 - static_cast<u64>(insn.disp);
        return;
    }
    if (insn.index < 16 && rng.one_in(2)) {
        state.gpr[insn.index] = rng.below(64);
    }
    // base + (index << scale) + disp = target; when base is the index too, leave what comes.
    const bool bit_string = insn.op >= Op::BT && insn.op <= Op::BTC && insn.form == Form::EG;
    if (bit_string && insn.reg < 16) {
        state.gpr[insn.reg] = (rng.next() & 0xFFF) - 0x400;
    }
    const u64 index = insn.index < 16 ? state.gpr[insn.index] << insn.scale : 0;
    u64 target = somewhere();
    if (bit_string) {
        target = kScratchAddress + 2 * kPageBytes;
    }
    if (insn.index == insn.base) {
        // base + (base << scale) + disp: as near to the target as a whole number of times goes.
        state.gpr[insn.base] =
            (target - static_cast<u64>(insn.disp)) / (1 + (u64{1} << insn.scale));
        return;
    }
    state.gpr[insn.base] = target - index - static_cast<u64>(insn.disp);
}

}  // namespace droste::differential
