// MOVS, CMPS, STOS, LODS, SCAS, alone and repeated. SDM Vol. 2, the pages of that name and
// "REP/REPE/REPZ/REPNE/REPNZ—Repeat String Operation Prefix". INS and OUTS are in
// exec_string_io.cpp.
//
// A repetition alternates between two gears. iterate() does one element through the ordinary memory
// path: faults, page crossings, MMIO, segment limits and everything else happen there. bulk() does
// as many elements as lie plainly in one page of RAM for each operand, on native pointers; it never
// fills a TLB and never faults, it just answers 0 where something is special. So the first element
// of a page fills the TLB, and the rest is bulk.
//
// Flags of CMPS and SCAS are committed when the repetition ends (or is stepped): a fault in its
// midst leaves them as they were before the instruction.

#include "cpu/x86/exec/exec_table.hpp"
#include "cpu/x86/exec/string_ops.hpp"

#include <algorithm>
#include <cstring>

namespace droste {
namespace {

template <Op O>
inline constexpr bool kCompares = O == Op::CMPS || O == Op::SCAS;
template <Op O>
inline constexpr bool kUsesSource = O == Op::MOVS || O == Op::CMPS || O == Op::LODS;
template <Op O>
inline constexpr bool kUsesDest = O != Op::LODS;
template <Op O>
inline constexpr bool kWritesDest = O == Op::MOVS || O == Op::STOS;

template <Op O, typename T>
inline void advance_both(Vcpu& cpu, const Insn& insn, u64 elements) {
    if constexpr (kUsesSource<O>) {
        advance<T>(cpu, insn, RSI, elements);
    }
    if constexpr (kUsesDest<O>) {
        advance<T>(cpu, insn, RDI, elements);
    }
}

template <typename T>
inline LazyFlags compare(T a, T b) {
    return LazyFlags::sub<T>(a, b, static_cast<T>(a - b));
}

// One element: SRC is DS:rSI or rAX, DEST is ES:rDI or rAX. Comparisons leave their flags in
// `flags`.
template <Op O, typename T>
inline Status iterate(Vcpu& cpu, const Insn& insn, LazyFlags& flags) {
    T source = 0;
    T dest = 0;
    Status status = Status::Next;
    if constexpr (kUsesSource<O>) {
        status = load_source<T>(cpu, insn, source);
    } else {
        source = read_gpr<T>(cpu, RAX);
    }
    if (status == Status::Next) {
        if constexpr (kWritesDest<O>) {
            status = store_dest<T>(cpu, insn, source);
        } else if constexpr (kCompares<O>) {
            status = load_dest<T>(cpu, insn, dest);
        } else {
            write_gpr<T>(cpu, RAX, source);
        }
    }
    if (status != Status::Next) [[unlikely]] {
        return status;
    }
    if constexpr (kCompares<O>) {
        flags = compare<T>(source, dest);
    }
    advance_both<O, T>(cpu, insn, 1);
    return Status::Next;
}

// --- bulk ---------------------------------------------------------------------------------------

// How many elements of T from seg:offset upward, at most `limit`, lie within one page, the
// segment's limit and the address size; `native` points at the first. 0 if not even one does, or
// the page is not plain RAM in the TLB.
template <typename T>
inline u64 plain_elements(
    Vcpu& cpu, const Insn& insn, SegReg seg, u64 offset, bool write, u64 limit, u8*& native) {
    LinearAddr linear = 0;
    u64 bytes = kPageBytes;
    if (cpu.mode.long_mode64) {
        linear = seg >= FS ? offset + cpu.state.seg[seg].base : offset;
    } else {
        const Segment& segment = cpu.state.seg[seg];
        if ((segment.checks & (write ? kSegWriteUp : kSegReadUp)) == 0 || offset > segment.limit) {
            return 0;
        }
        linear = static_cast<u32>(segment.base + offset);
        bytes = std::min(bytes, u64{segment.limit} - offset + 1);
    }
    bytes = std::min(bytes, kPageBytes - linear % kPageBytes);
    bytes = std::min(bytes - 1, size_mask(insn.addrsize) - offset) + 1;
    const u64 elements = std::min(limit, bytes / sizeof(T));
    if (elements == 0) {
        return 0;
    }
    native = native_pointer_if_plain(cpu, linear, write);
    return native != nullptr ? elements : 0;
}

template <typename T>
inline T element(const u8* native, u64 index) {
    T value;
    std::memcpy(&value, native + index * sizeof(T), sizeof(T));
    return value;
}
template <typename T>
inline void set_element(u8* native, u64 index, T value) {
    std::memcpy(native + index * sizeof(T), &value, sizeof(T));
}

// Element by element from low to high is what the guest sees: where the destination starts inside
// the source, what was written is read again. Everywhere else that is memmove.
template <typename T>
inline void copy_forward(u8* dest, const u8* source, u64 elements) {
    const u64 bytes = elements * sizeof(T);
    if (dest > source && dest < source + bytes) {
        for (u64 i = 0; i < elements; ++i) {
            set_element<T>(dest, i, element<T>(source, i));
        }
    } else {
        std::memmove(dest, source, bytes);
    }
}
template <typename T>
inline void fill(u8* dest, T value, u64 elements) {
    u8 bytes[sizeof(T)];
    std::memcpy(bytes, &value, sizeof(T));
    if (std::all_of(bytes, bytes + sizeof(T), [&](u8 byte) { return byte == bytes[0]; })) {
        std::memset(dest, bytes[0], elements * sizeof(T));
        return;
    }
    for (u64 i = 0; i < elements; ++i) {
        set_element<T>(dest, i, value);
    }
}

// REPE goes on while equal, REPNE while different.
inline bool goes_on(const Insn& insn, bool equal) {
    return equal == insn.rep();
}

// Up to `limit` elements forward; returns how many were done. `stop` tells that the last one ended
// the repetition.
template <Op O, typename T>
inline u64 bulk(Vcpu& cpu, const Insn& insn, u64 limit, LazyFlags& flags, bool& stop) {
    u8* source = nullptr;
    u8* dest = nullptr;
    u64 elements = limit;
    if constexpr (kUsesSource<O>) {
        elements = plain_elements<T>(cpu, insn, static_cast<SegReg>(insn.seg),
                                     string_offset(cpu, insn, RSI), false, elements, source);
    }
    if constexpr (kUsesDest<O>) {
        if (elements != 0) {
            elements = plain_elements<T>(cpu, insn, ES, string_offset(cpu, insn, RDI),
                                         kWritesDest<O>, elements, dest);
        }
    }
    if (elements == 0) {
        return 0;
    }
    if constexpr (O == Op::MOVS) {
        copy_forward<T>(dest, source, elements);
    } else if constexpr (O == Op::STOS) {
        fill<T>(dest, read_gpr<T>(cpu, RAX), elements);
    } else if constexpr (O == Op::LODS) {
        write_gpr<T>(cpu, RAX, element<T>(source, elements - 1));
    } else {
        T a = read_gpr<T>(cpu, RAX);
        T b = 0;
        u64 done = 0;
        while (done < elements && !stop) {
            if constexpr (O == Op::CMPS) {
                a = element<T>(source, done);
            }
            b = element<T>(dest, done);
            ++done;
            stop = !goes_on(insn, a == b);
        }
        elements = done;
        flags = compare<T>(a, b);
    }
    advance_both<O, T>(cpu, insn, elements);
    return elements;
}

// --- handlers -----------------------------------------------------------------------------------

template <Op O>
struct Single {
    template <typename T>
    static Status exec(Vcpu& cpu, const Insn& insn) {
        LazyFlags flags;
        const Status status = iterate<O, T>(cpu, insn, flags);
        if constexpr (kCompares<O>) {
            if (status == Status::Next) {
                cpu.state.flags = flags;
            }
        }
        return status;
    }
};

template <Op O>
struct Repeated {
    template <typename T>
    static Status exec(Vcpu& cpu, const Insn& insn) {
        u64 count = string_offset(cpu, insn, RCX);
        if (count == 0) {
            return Status::Next;
        }
        const bool forward = !backwards(cpu) && !stepped(cpu);
        const u64 quantum = rep_quantum<T>(cpu, count);
        LazyFlags flags;
        Status status = Status::Next;
        bool stop = false;
        u64 done = 0;
        while (done < quantum && !stop) {
            u64 elements = forward ? bulk<O, T>(cpu, insn, quantum - done, flags, stop) : 0;
            if (elements == 0) {
                status = iterate<O, T>(cpu, insn, flags);
                if (status != Status::Next) [[unlikely]] {
                    break;
                }
                elements = 1;
                if constexpr (kCompares<O>) {
                    stop = !goes_on(insn, flags.zf());
                }
            }
            done += elements;
            // A data breakpoint traps after the iteration that met it, and an interrupt that a
            // device raised for an access comes behind that.
            if ((cpu.leave & leave::kPauses) != 0) [[unlikely]] {
                break;
            }
        }
        count -= done;
        if (done != 0) {
            write_gpr_masked(cpu, RCX, insn.addrsize, count);
        }
        charge_elements(cpu, done, status == Status::Fault);
        if (status != Status::Next) [[unlikely]] {
            return status;
        }
        const bool finished = stop || count == 0;
        if constexpr (kCompares<O>) {
            if (finished || stepped(cpu) || cpu.state.pending_debug != 0) {
                cpu.state.flags = flags;
            }
        }
        cpu.step.repeating_at = finished ? kNoTag : cpu.state.rip();
        return finished ? Status::Next : Status::Branch;  // Branch: RIP still points here
    }
};

template <Op O>
ExecFn select_string(Vcpu& /*cpu*/, Insn& insn) {
    return repeats(insn) ? by_width<Repeated<O>>(string_width(insn))
                         : by_width<Single<O>>(string_width(insn));
}

constexpr auto kRows = std::to_array<ExecRow>({
    {Op::MOVS, select_string<Op::MOVS>},
    {Op::CMPS, select_string<Op::CMPS>},
    {Op::STOS, select_string<Op::STOS>},
    {Op::LODS, select_string<Op::LODS>},
    {Op::SCAS, select_string<Op::SCAS>},
});

}  // namespace

std::span<const ExecRow> exec_rows_string() {
    return kRows;
}

}  // namespace droste
