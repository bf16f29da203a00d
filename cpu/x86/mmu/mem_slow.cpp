// The slow side of mem_access.hpp: TLB misses, page crossings, MMIO, alignment checks, watchpoints,
// writes to pages that hold decoded code, non-canonical addresses, and segment checks the inline
// test could not pass.
//
// Order of faults for one access (SDM Vol. 3A, "Prioritization of Concurrent Events"): segment,
// canonical, page fault, alignment. A store that crosses a page is translated on both sides before
// either half is written.

#include "core/bits.hpp"
#include "core/guest_memory.hpp"
#include "core/log.hpp"
#include "cpu/x86/apic/local_apic.hpp"
#include "cpu/x86/mmu/mem_access.hpp"
#include "cpu/x86/mmu/paging.hpp"
#include "cpu/x86/seams/intercept.hpp"
#include "cpu/x86/system/debug_traps.hpp"

#include <algorithm>
#include <array>

namespace droste {

namespace {

// Where one page's part of an access goes.
struct Target {
    u8* native = nullptr;  // RAM (or ROM when reading): byte address
    PhysAddr address = 0;
    bool rom = false;
};

// Enters the translation into the TLB as far as the page is plain memory.
template <unsigned Entries>
void fill(Vcpu& cpu,
          LinearAddr linear,
          TlbTable<Entries>& table,
          const Translation& translation,
          const NativePage& page) {
    TlbFill entry;
    const u64 marks = tlb_marks(cpu, translation);
    entry.addend = reinterpret_cast<u64>(page.native) - (linear & kPageMask);
    entry.page = (translation.address & kPageMask) | marks;
    entry.readable = translation.readable;
    entry.writable =
        page.kind == PageKind::Ram && translation.writable && (*page.flags & kPageHasCode) == 0;
    entry.chain = translation.chain;
    table.fill(linear, entry);
    TlbContext& context = cpu.tlb.current();
    if ((marks & tlb_mark::kLarge) != 0) {
        note_large_page(context, linear, translation.page_bytes);
    }
    if (translation.user) {
        context.protection_keys |= static_cast<u16>(1U << translation.protection_key);
    }
}

struct SlowAccess {
    LinearAddr linear;
    u8* data;  // null: only probe
    unsigned bytes;
    bool write;
    SegReg seg;
    PrivilegeClass privilege;
    bool check_alignment;
    bool shadow_stack = false;
};

template <unsigned Entries>
Status resolve(Vcpu& cpu,
               LinearAddr linear,
               const SlowAccess& access,
               TlbTable<Entries>& table,
               Target& target) {
    const bool write = access.write;
    if (write ? table.hits_write(linear, 1) : table.hits_read(linear, 1)) {
        target.native = table.native(linear);
        target.address = (table.page(table.index(linear)) & kPageMask) | (linear % kPageBytes);
        return Status::Next;
    }
    ++cpu.counters.tlb_misses;
    Translation translation;
    const Status status =
        access.shadow_stack
            ? walk_shadow_stack(cpu, linear, write, access.privilege == PrivilegeClass::User,
                                translation)
            : walk(cpu, linear, write ? Access::Write : Access::Read, access.privilege,
                   translation);
    if (status != Status::Next) {
        return status;
    }
    target.address = translation.address;
    const PhysAddr physical_page = translation.address & kPageMask;
    if (cpu.apic->claims(physical_page) || physical_page == cpu.non_root.apic_access_page)
        [[unlikely]] {
        return Status::Next;
    }
    const NativePage page = cpu.memory.lookup(physical_page);
    if (page.native == nullptr) {
        return Status::Next;
    }
    target.rom = page.kind == PageKind::Rom;
    target.native = page.native + translation.address % kPageBytes;
    if (!data_breakpoints_in_page(cpu, linear & kPageMask)) [[likely]] {
        fill(cpu, linear, table, translation, page);
    }
    return Status::Next;
}

// Through the table of the current context that keeps such translations.
Status resolve(Vcpu& cpu, LinearAddr linear, const SlowAccess& access, Target& target) {
    TlbContext& context = cpu.tlb.current();
    if (access.shadow_stack) {
        const std::size_t user = access.privilege == PrivilegeClass::User ? 1 : 0;
        return resolve(cpu, linear, access, context.shadow[user], target);
    }
    return resolve(cpu, linear, access, context.data[static_cast<std::size_t>(access.privilege)],
                   target);
}

// One device access within a page, in naturally sized pieces.
Status device_access(Vcpu& cpu, PhysAddr address, u8* data, unsigned bytes, bool write) {
    while (bytes != 0) {
        unsigned piece = bytes >= 8 ? 8 : bytes >= 4 ? 4 : bytes >= 2 ? 2 : 1;
        while (address % piece != 0) {
            piece /= 2;
        }
        u64 value = 0;
        if (write) {
            std::memcpy(&value, data, piece);
        }
        if (cpu.non_root.intercepts != nullptr &&
            (address & kPageMask) == cpu.non_root.apic_access_page) {
            cpu.leave_block(leave::kDevice);
            Status status = Status::Next;
            if (cpu.non_root.intercepts->apic_access(
                    cpu, address, piece, write ? Access::Write : Access::Read, value, status)) {
                if (status != Status::Next) {
                    return status;
                }
                if (!write) {
                    std::memcpy(data, &value, piece);
                }
                address += piece;
                data += piece;
                bytes -= piece;
                continue;
            }
        }
        if (write) {
            write_physical(cpu, address, piece, value);
        } else {
            value = read_physical(cpu, address, piece);
            std::memcpy(data, &value, piece);
        }
        address += piece;
        data += piece;
        bytes -= piece;
    }
    return Status::Next;
}

// Values of a register's width go in one native access: other processors never see half of one that
// lies within a cache line (SDM Vol. 3A, "Guaranteed Atomic Operations").
void copy_bytes(u8* to, const u8* from, unsigned bytes) {
    switch (bytes) {
    case 1: *to = *from; break;
    case 2: std::memcpy(to, from, 2); break;
    case 4: std::memcpy(to, from, 4); break;
    case 8: std::memcpy(to, from, 8); break;
    default: std::memcpy(to, from, bytes); break;
    }
}

Status transfer(Vcpu& cpu, const Target& target, u8* data, unsigned bytes, bool write) {
    if (target.native == nullptr) [[unlikely]] {
        return device_access(cpu, target.address, data, bytes, write);
    }
    if (!write) {
        copy_bytes(data, target.native, bytes);
        return Status::Next;
    }
    if (target.rom) {
        cpu.log.write(LogCategory::GuestErrors, "write to ROM at {:#x}", target.address);
        return Status::Next;
    }
    // Asked now, not in resolve(): what happened since, the first half of this access on a device
    // for one, may have changed what the page is.
    const NativePage page = cpu.memory.lookup(target.address & kPageMask);
    if (page.flags != nullptr && (*page.flags & kPageHasCode) != 0) [[unlikely]] {
        ++cpu.counters.smc_writes;
        cpu.memory.code_pages().written(target.address, bytes, *page.flags);
    }
    copy_bytes(target.native, data, bytes);
    return Status::Next;
}

bool canonical_access(const Vcpu& cpu, LinearAddr linear, unsigned bytes) {
    return is_canonical(cpu, linear) && is_canonical(cpu, linear + bytes - 1);
}

bool ia32e_mode(const Vcpu& cpu) {
    return (cpu.state.efer & efer::kLma) != 0;
}

// The next linear address, wrapping at 4 GiB outside IA-32e mode.
LinearAddr advance(const Vcpu& cpu, LinearAddr linear, u64 bytes) {
    const LinearAddr next = linear + bytes;
    return ia32e_mode(cpu) ? next : static_cast<u32>(next);
}

Status access_slow(Vcpu& cpu, const SlowAccess& access) {
    // Compatibility mode too: its own addresses are always canonical, those of the descriptor
    // tables and of the TSS need not be.
    if (ia32e_mode(cpu) && !canonical_access(cpu, access.linear, access.bytes)) [[unlikely]] {
        return raise(cpu, access.seg == SS ? Exception::SS : Exception::GP, 0);
    }
    const auto in_page = static_cast<unsigned>(kPageBytes - access.linear % kPageBytes);
    const unsigned first = std::min(access.bytes, in_page);
    const unsigned second = access.bytes - first;
    Target targets[2];
    if (const Status status = resolve(cpu, access.linear, access, targets[0]);
        status != Status::Next) {
        return status;
    }
    const LinearAddr next = advance(cpu, access.linear, first);
    if (second != 0) [[unlikely]] {
        if (const Status status = resolve(cpu, next, access, targets[1]); status != Status::Next) {
            return status;
        }
    }
    if (access.check_alignment &&
        (access.linear & (std::min(std::bit_ceil(access.bytes), 8U) - 1)) != 0) {
        return raise(cpu, Exception::AC, 0);
    }
    if (access.data == nullptr) {
        return Status::Next;
    }
    if ((cpu.state.dr7 & 0xFF) != 0) [[unlikely]] {
        note_data_access(cpu, access.linear, access.bytes, access.write);
    }
    if (const Status status = transfer(cpu, targets[0], access.data, first, access.write);
        status != Status::Next) {
        return status;
    }
    return second == 0 ? Status::Next
                       : transfer(cpu, targets[1], access.data + first, second, access.write);
}

}  // namespace

Status load_slow(Vcpu& cpu, LinearAddr linear, void* out, unsigned bytes, SegReg seg) {
    return access_slow(cpu, {linear, static_cast<u8*>(out), bytes, false, seg, data_privilege(cpu),
                             cpu.mode.alignment_checked});
}

Status store_slow(Vcpu& cpu, LinearAddr linear, const void* data, unsigned bytes, SegReg seg) {
    std::array<u8, 64> copy{};
    DROSTE_DEBUG_ASSERT(bytes <= copy.size());
    std::memcpy(copy.data(), data, bytes);
    return access_slow(cpu, {linear, copy.data(), bytes, true, seg, data_privilege(cpu),
                             cpu.mode.alignment_checked});
}

Status load_system_slow(Vcpu& cpu, LinearAddr linear, void* out, unsigned bytes) {
    return access_slow(
        cpu, {linear, static_cast<u8*>(out), bytes, false, DS, PrivilegeClass::Supervisor, false});
}

Status store_system_slow(Vcpu& cpu, LinearAddr linear, const void* data, unsigned bytes) {
    std::array<u8, 64> copy{};
    DROSTE_DEBUG_ASSERT(bytes <= copy.size());
    std::memcpy(copy.data(), data, bytes);
    return access_slow(cpu,
                       {linear, copy.data(), bytes, true, DS, PrivilegeClass::Supervisor, false});
}

namespace {

SlowAccess
shadow_stack_access(LinearAddr linear, void* data, unsigned bytes, bool write, bool user) {
    const PrivilegeClass privilege = user ? PrivilegeClass::User : PrivilegeClass::Supervisor;
    return {linear, static_cast<u8*>(data), bytes, write, DS, privilege, false, true};
}

}  // namespace

Status load_shadow_stack(Vcpu& cpu, LinearAddr linear, void* out, unsigned bytes, bool user) {
    return access_slow(cpu, shadow_stack_access(linear, out, bytes, false, user));
}

Status
store_shadow_stack(Vcpu& cpu, LinearAddr linear, const void* data, unsigned bytes, bool user) {
    std::array<u8, 8> copy{};
    DROSTE_DEBUG_ASSERT(bytes <= copy.size());
    std::memcpy(copy.data(), data, bytes);
    return access_slow(cpu, shadow_stack_access(linear, copy.data(), bytes, true, user));
}

Status probe_shadow_stack(Vcpu& cpu, LinearAddr linear, unsigned bytes, bool user) {
    return access_slow(cpu, shadow_stack_access(linear, nullptr, bytes, true, user));
}

Status probe_store(Vcpu& cpu, LinearAddr linear, unsigned bytes, SegReg seg) {
    return access_slow(
        cpu, {linear, nullptr, bytes, true, seg, data_privilege(cpu), cpu.mode.alignment_checked});
}

Status probe_load(Vcpu& cpu, LinearAddr linear, unsigned bytes, SegReg seg) {
    return access_slow(
        cpu, {linear, nullptr, bytes, false, seg, data_privilege(cpu), cpu.mode.alignment_checked});
}

u8* native_pointer_if_plain(Vcpu& cpu, LinearAddr linear, bool write) {
    const DataTlb& tlb = *cpu.mode.data_tlb;
    const bool hit = write ? tlb.hits_write(linear, 1) : tlb.hits_read(linear, 1);
    return hit ? tlb.native(linear) : nullptr;
}

// Segment checks of protected, real and virtual-8086 mode. SDM Vol. 3A, "Limit Checking", "Type
// Checking".
Status segment_access_slow(
    Vcpu& cpu, SegReg seg, u64 offset, unsigned bytes, bool write, LinearAddr& linear) {
    const Segment& s = cpu.state.seg[seg];
    const Exception violation = seg == SS ? Exception::SS : Exception::GP;
    if (s.unusable()) {
        return raise(cpu, violation, 0);  // null selector
    }
    const bool code = (s.type() & segment_rights::kTypeCode) != 0;
    const bool protected_rules = cpu.mode.protected_mode && !cpu.mode.virtual8086;
    if (protected_rules) {
        const bool allowed = code ? (!write && (s.type() & segment_rights::kTypeReadable) != 0)
                                  : (!write || (s.type() & segment_rights::kTypeWritable) != 0);
        if (!allowed) {
            return raise(cpu, violation, 0);
        }
    }
    const u64 last = offset + bytes - 1;
    const bool expand_down = !code && (s.type() & segment_rights::kTypeExpandDown) != 0;
    bool inside = last <= s.limit;
    if (expand_down && protected_rules) {
        const u64 top = (s.rights & segment_rights::kDb) != 0 ? 0xFFFF'FFFF : 0xFFFF;
        inside = offset > s.limit && last <= top;
    }
    if (!inside) {
        return raise(cpu, violation, 0);
    }
    linear = static_cast<u32>(s.base + offset);
    return Status::Next;
}

u64 read_gpr_sized(const Vcpu& cpu, unsigned number, unsigned bytes) {
    switch (bytes) {
    case 1: return read_gpr<u8>(cpu, number);
    case 2: return read_gpr<u16>(cpu, number);
    case 4: return read_gpr<u32>(cpu, number);
    default: return read_gpr<u64>(cpu, number);
    }
}

void write_gpr_sized(Vcpu& cpu, unsigned number, unsigned bytes, u64 value) {
    switch (bytes) {
    case 1: write_gpr<u8>(cpu, number, static_cast<u8>(value)); break;
    case 2: write_gpr<u16>(cpu, number, static_cast<u16>(value)); break;
    case 4: write_gpr<u32>(cpu, number, static_cast<u32>(value)); break;
    default: write_gpr<u64>(cpu, number, value); break;
    }
}

}  // namespace droste
