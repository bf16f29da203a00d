// Reading descriptors, and the segment-register images made of them.
// SDM Vol. 3A, "Segment Descriptors", "System Descriptor Types", "Segment Descriptor Tables in
// IA-32e Mode".

#include "cpu/x86/mmu/mem_access.hpp"
#include "cpu/x86/system/protection.hpp"

namespace droste {

namespace {

// Which system descriptors are 16 bytes long in IA-32e mode: LDT, TSS, call gates.
bool is_16_byte_type(unsigned type) {
    return type == system_type::kLdt || type == system_type::kTss32Available ||
           type == system_type::kTss32Busy || type == system_type::kCallGate32;
}

struct Table {
    u64 base = 0;
    u32 limit = 0;
    bool usable = true;
};

Table table_of(const Vcpu& cpu, u16 selector) {
    if (names_ldt(selector)) {
        return {cpu.state.ldtr.base, cpu.state.ldtr.limit, !cpu.state.ldtr.unusable()};
    }
    return {cpu.state.gdtr.base, cpu.state.gdtr.limit, true};
}

}  // namespace

LinearAddr descriptor_address(const Vcpu& cpu, u16 selector) {
    return system_linear(cpu, table_of(cpu, selector).base + (selector & ~7U));
}

Status find_descriptor(Vcpu& cpu, u16 selector, Descriptor& out, bool& found) {
    const Table table = table_of(cpu, selector);
    const u32 first = selector & ~7U;
    found = false;
    if (!table.usable || first + 7 > table.limit) {
        return Status::Next;
    }
    out = {};
    const LinearAddr linear = system_linear(cpu, table.base + first);
    if (const Status status = load_system(cpu, linear, out.raw); status != Status::Next) {
        return status;
    }
    if (ia32e_mode(cpu) && out.system() && is_16_byte_type(out.type())) {
        if (first + 15 > table.limit) {
            return Status::Next;
        }
        if (const Status status = load_system(cpu, linear + 8, out.raw_high);
            status != Status::Next) {
            return status;
        }
    }
    found = true;
    return Status::Next;
}

Status read_descriptor(Vcpu& cpu, u16 selector, Exception fault_vector, Descriptor& out) {
    bool found = false;
    if (const Status status = find_descriptor(cpu, selector, out, found); status != Status::Next) {
        return status;
    }
    return found ? Status::Next : raise(cpu, fault_vector, selector_error(selector));
}

// The processor sets the bit with a locked write; no other processor runs between our read and our
// write of this byte.
Status set_accessed(Vcpu& cpu, u16 selector, Descriptor& d) {
    constexpr u64 kAccessed = u64{segment_rights::kTypeAccessed} << 40;
    if ((d.raw & kAccessed) != 0) {
        return Status::Next;
    }
    const auto access_byte = static_cast<u8>((d.raw | kAccessed) >> 40);
    if (const Status status = store_system(cpu, descriptor_address(cpu, selector) + 5, access_byte);
        status != Status::Next) {
        return status;
    }
    d.raw |= kAccessed;
    return Status::Next;
}

Status set_tss_busy(Vcpu& cpu, u16 selector, bool busy) {
    const LinearAddr linear = descriptor_address(cpu, selector) + 5;
    u8 access_byte = 0;
    if (const Status status = load_system(cpu, linear, access_byte); status != Status::Next) {
        return status;
    }
    const auto updated = static_cast<u8>(busy ? access_byte | system_type::kBusyBit
                                              : access_byte & ~system_type::kBusyBit);
    return store_system(cpu, linear, updated);
}

bool is_available_tss(const Vcpu& cpu, const Descriptor& d) {
    return d.system() && (d.type() == system_type::kTss32Available ||
                          (d.type() == system_type::kTss16Available && !ia32e_mode(cpu)));
}

bool is_busy_tss(const Vcpu& cpu, const Descriptor& d) {
    return d.system() && (d.type() == system_type::kTss32Busy ||
                          (d.type() == system_type::kTss16Busy && !ia32e_mode(cpu)));
}

Segment segment_from(u16 selector, const Descriptor& d) {
    Segment segment;
    segment.selector = selector;
    segment.rights = d.rights();
    segment.limit = d.limit();
    segment.base = static_cast<u32>(d.base());
    refresh_segment_checks(segment);
    return segment;
}

Segment system_segment_from(u16 selector, const Descriptor& d) {
    Segment segment;
    segment.selector = selector;
    segment.rights = d.rights();
    segment.limit = d.limit();
    segment.base = d.base();
    return segment;
}

Segment null_segment(u16 selector, unsigned dpl) {
    Segment segment;
    segment.selector = selector;
    segment.rights = segment_rights::kUnusable | (dpl << 5);
    segment.limit = 0;
    return segment;
}

Segment flat_code_segment(u16 selector, unsigned dpl, FlatCode size) {
    using namespace segment_rights;
    Segment segment;
    segment.selector = selector;
    segment.rights = kTypeCode | kTypeReadable | kTypeAccessed | kS | (dpl << 5) | kPresent | kG |
                     (size == FlatCode::Bits64 ? kL : kDb);
    segment.limit = 0xFFFF'FFFF;
    refresh_segment_checks(segment);
    return segment;
}

Segment flat_stack_segment(u16 selector, unsigned dpl) {
    using namespace segment_rights;
    Segment segment;
    segment.selector = selector;
    segment.rights = kTypeWritable | kTypeAccessed | kS | (dpl << 5) | kPresent | kG | kDb;
    segment.limit = 0xFFFF'FFFF;
    refresh_segment_checks(segment);
    return segment;
}

// Real-address mode changes the base and leaves limit and size alone ("big real mode"); it makes
// the segment writable, as every segment is there. Virtual-8086 mode loads everything anew.
Segment real_mode_segment(const Segment& old, u16 selector, bool virtual8086) {
    using namespace segment_rights;
    constexpr u32 kReadWrite = kTypeWritable | kTypeAccessed | kS | kPresent;
    Segment segment;
    segment.selector = selector;
    segment.base = static_cast<u32>(selector) << 4;
    if (virtual8086) {
        segment.rights = kReadWrite | (3U << 5);
    } else {
        segment.rights = kReadWrite | (old.unusable() ? 0 : old.rights & (kG | kDb | kAvl));
        segment.limit = old.unusable() ? 0xFFFF : old.limit;
    }
    refresh_segment_checks(segment);
    return segment;
}

}  // namespace droste
