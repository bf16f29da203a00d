// Page walks. SDM Vol. 3A, "Paging".
//
// The problem: five ways of paging that differ in levels, widths and reserved bits, but agree on
// what a right is; tables that other processors and devices change while they are read, and which
// may themselves lie behind EPT; and a fault must leave them as they were.
//
// The choice: one loop serves all modes; a mode is its number of levels, entry size and index width.
// Rights are collected on the way down and checked once, at the leaf. Accessed and dirty bits are
// set last, from the root down, by compare-exchange: if an entry is no longer what was read, the
// walk starts over. Every access to an entry goes through SecondStage when EPT is on. What an
// access would be answered, without doing anything (a debugger, verify.hpp), is the same walk with
// `set_accessed_dirty` off, so the two cannot disagree.
//
// Rejected: a function for each mode (the rules of rights, protection keys and error codes four
// times over); setting accessed bits on the way down (a walk that faults or starts over has then
// written pages, and under EPT logged them, for nothing); plain stores of the bits (they would undo
// what another processor has just written there); paging-structure caches (the TLB contexts, which
// survive switches of the address space, absorb the repetition, and INVLPG would have one more place
// to look at).

#include "cpu/x86/mmu/paging.hpp"

#include "core/bits.hpp"
#include "core/bus.hpp"
#include "core/guest_memory.hpp"
#include "core/log.hpp"
#include "cpu/x86/apic/local_apic.hpp"

#include <array>
#include <bit>
#include <cstring>

namespace droste {

namespace {

// Paging-structure entry bits. SDM Vol. 3A, Tables "Format of a Page-Table Entry that Maps a
// 4-KByte Page" etc.
constexpr u64 kPresent = 1U << 0, kWritable = 1U << 1, kUser = 1U << 2, kAccessed = 1U << 5,
              kDirty = 1U << 6, kLargePage = 1U << 7, kGlobal = 1U << 8;
constexpr u64 kNoExecute = u64{1} << 63;

// #PF error code. SDM Vol. 3A, "Page-Fault Exceptions".
constexpr u32 kErrorPresent = 1U << 0, kErrorWrite = 1U << 1, kErrorUser = 1U << 2,
              kErrorReserved = 1U << 3, kErrorFetch = 1U << 4, kErrorProtectionKey = 1U << 5,
              kErrorShadowStack = 1U << 6;

// What the levels above and including the leaf said.
struct Rights {
    bool user = true;
    bool writable = true;
    bool tables_writable = true;  // the levels above the leaf alone
    bool no_execute = false;
};

struct Visited {
    PhysAddr address = 0;
    u64 value = 0;
    u64 to_set = 0;
};

enum class Outcome : u8 { Done, Retry, Fault };

class Walker {
  public:
    Walker(Vcpu& cpu, const WalkRequest& request) : cpu_(cpu), request_(request) {}

    Outcome run(Translation& out);

  private:
    Outcome run_paged(Translation& out);
    Outcome page_fault(u32 extra);
    Outcome second_stage(GuestPhysAddr guest, const StageTwoAccess& access, StageTwoResult& result);
    Outcome read_entry(GuestPhysAddr table, unsigned index, Visited& visited);
    Outcome check_rights(const Rights& rights, u64 leaf);
    u32 protection_key_violation(const Rights& rights, u64 leaf);
    bool shadow_stack_allowed(const Rights& rights, u64 leaf) const;
    bool ordinarily_allowed(const Rights& rights) const;
    Exchange set_bits(const Visited& entry);
    void note_link(PhysAddr address, u64 value);
    Outcome set_accessed_dirty();
    u64 reserved_mask(unsigned level, bool leaf_large) const;
    Outcome finish(GuestPhysAddr guest, u64 page_bytes, const Rights& rights, Translation& out);
    Outcome start_level(unsigned& level, GuestPhysAddr& table);

    bool pae() const { return (cpu_.state.cr4 & cr4::kPae) != 0; }
    bool long_mode() const { return (cpu_.state.efer & efer::kLma) != 0; }
    bool nx_enabled() const { return (cpu_.state.efer & efer::kNxe) != 0; }

    Vcpu& cpu_;
    const WalkRequest& request_;
    std::array<Visited, 5> visited_{};
    std::array<GuestPhysAddr, 5> guest_of_{};  // guest-physical addresses of the entries visited
    unsigned visited_count_ = 0;
    u32 chain_ = 0;
    bool leaf_dirty_ = false;
    bool key_forbids_write_ = false;
};

Outcome Walker::page_fault(u32 extra) {
    u32 code = extra;
    if (request_.access == Access::Write) {
        code |= kErrorWrite;
    }
    if (request_.user()) {
        code |= kErrorUser;
    }
    if (request_.shadow_stack) {
        code |= kErrorShadowStack;
    }
    const bool fetch_reported = (pae() && nx_enabled()) || (cpu_.state.cr4 & cr4::kSmep) != 0;
    if (request_.access == Access::Execute && fetch_reported) {
        code |= kErrorFetch;
    }
    if (request_.set_accessed_dirty) {
        (void)raise(cpu_, Exception::PF, code);
        cpu_.fault.payload = request_.linear;
        ++cpu_.counters.page_faults;
        cpu_.log.write(LogCategory::Mmu,
                       "vCPU {}: page fault at {:#x}, error code {:#x}, rip {:#x}", cpu_.index,
                       request_.linear, code, cpu_.state.rip());
    }
    return Outcome::Fault;
}

Outcome
Walker::second_stage(GuestPhysAddr guest, const StageTwoAccess& access, StageTwoResult& result) {
    if (cpu_.non_root.second_stage == nullptr) {
        result.address = cpu_.a20_enabled ? guest : guest & ~kA20Bit;
        result.readable = result.writable = result.executable = true;
        result.page_bytes = ~u64{0};
        return Outcome::Done;
    }
    if (!request_.set_accessed_dirty) {
        // A debugger's walk must not exit; it follows only what is already there.
        return cpu_.non_root.second_stage->translate_for_debug(cpu_, guest, result)
                   ? Outcome::Done
                   : Outcome::Fault;
    }
    if (cpu_.non_root.second_stage->translate(cpu_, guest, access, result)) {
        return Outcome::Done;
    }
    cpu_.fault_is_vm_exit = true;
    return Outcome::Fault;
}

Outcome Walker::read_entry(GuestPhysAddr table, unsigned index, Visited& visited) {
    const bool wide = pae();
    const GuestPhysAddr guest = table + index * (wide ? 8U : 4U);
    StageTwoAccess access;
    access.access = Access::Read;
    access.paging_structure = true;
    access.linear = request_.linear;
    access.user_linear = request_.user();
    StageTwoResult result;
    if (second_stage(guest, access, result) != Outcome::Done) {
        return Outcome::Fault;
    }
    visited.address = result.address;
    const NativePage page = cpu_.memory.lookup(result.address & kPageMask);
    if (page.native != nullptr) [[likely]] {
        const u8* source = page.native + result.address % kPageBytes;
        if (wide) {
            std::memcpy(&visited.value, source, 8);
        } else {
            u32 narrow = 0;
            std::memcpy(&narrow, source, 4);
            visited.value = narrow;
        }
    } else {
        visited.value = read_physical(cpu_, result.address, wide ? 8 : 4);
    }
    return Outcome::Done;
}

// Adds an entry to the chain: where it lies and what it says.
void Walker::note_link(PhysAddr address, u64 value) {
    if constexpr (kTlbKeepsChains) {
        constexpr u64 kOddFactor = 0x9E37'79B9'7F4A'7C15;
        chain_ = static_cast<u32>(((value ^ std::rotl(address, 17) ^ chain_) * kOddFactor) >> 32);
    }
}

u64 Walker::reserved_mask(unsigned level, bool leaf_large) const {
    const unsigned physical_bits = cpu_.features.physical_address_bits;
    if (!pae()) {
        if (!leaf_large) {
            return 0;
        }
        // PSE-36: bits 20:13 hold address bits 39:32; what exceeds MAXPHYADDR, and bit 21, are
        // reserved.
        const unsigned wide_bits = physical_bits < 40 ? physical_bits : 40;
        u64 mask = bit(21);
        for (unsigned b = wide_bits; b < 40; ++b) {
            mask |= bit(b - 32 + 13);
        }
        return mask;
    }
    u64 mask = 0;
    if (physical_bits < 52) {
        mask |= bits(~u64{0}, 0, 51 - physical_bits) << physical_bits;
    }
    if (!long_mode()) {
        mask |= bits(~u64{0}, 0, 10) << 52;  // PAE: 62:52 are reserved
    }
    if (!nx_enabled()) {
        mask |= kNoExecute;
    }
    if (leaf_large) {
        mask |= level == 2 ? bits(~u64{0}, 0, 7) << 13 : bits(~u64{0}, 0, 16) << 13;
    } else if (level >= 4 || (level == 3 && !cpu_.features.has(Feature::PDPE1GB))) {
        mask |= kLargePage;
    }
    return mask;
}

// PK of the error code, if the page's key forbids the access. Keys guard user-mode addresses
// against data accesses of every privilege. SDM Vol. 3A, "Protection Keys".
u32 Walker::protection_key_violation(const Rights& rights, u64 leaf) {
    const CpuState& s = cpu_.state;
    const bool guarded = (s.cr4 & cr4::kPke) != 0 && long_mode() && rights.user;
    if (!guarded || request_.access == Access::Execute) {
        return 0;
    }
    const auto key = static_cast<unsigned>(bits(leaf, 59, 62));
    const bool access_disabled = test_bit(s.pkru, key * 2);
    const bool write_disabled = test_bit(s.pkru, key * 2 + 1);
    key_forbids_write_ = write_disabled && (request_.user() || (s.cr0 & cr0::kWp) != 0);
    const bool forbidden =
        access_disabled || (request_.access == Access::Write && key_forbids_write_);
    return forbidden ? kErrorProtectionKey : 0;
}

// A shadow-stack page is one that is dirty but not writable, below writable tables; user accesses
// stay in user pages and supervisor accesses in supervisor pages. SDM Vol. 3A, "Determination of
// Access Rights".
bool Walker::shadow_stack_allowed(const Rights& rights, u64 leaf) const {
    const bool shadow_page =
        rights.tables_writable && (leaf & kWritable) == 0 && (leaf & kDirty) != 0;
    return shadow_page && rights.user == request_.user();
}

// U/S, R/W and XD, CR0.WP, SMEP and SMAP. SDM Vol. 3A, "Determination of Access Rights".
bool Walker::ordinarily_allowed(const Rights& rights) const {
    const CpuState& s = cpu_.state;
    const bool user = request_.user();
    if (user && !rights.user) {
        return false;
    }
    if (request_.access == Access::Execute) {
        const bool smep = !user && rights.user && (s.cr4 & cr4::kSmep) != 0;
        return !(rights.no_execute && nx_enabled()) && !smep;
    }
    const bool needs_writable = user || (s.cr0 & cr0::kWp) != 0;
    if (request_.access == Access::Write && !rights.writable && needs_writable) {
        return false;
    }
    const bool smap = rights.user && (s.cr4 & cr4::kSmap) != 0 &&
                      request_.privilege == PrivilegeClass::Supervisor;
    return !smap;
}

// The error code's PK says what the key says of the access, whether or not something else forbids
// it, too. SDM Vol. 3A, "Page-Fault Exceptions".
Outcome Walker::check_rights(const Rights& rights, u64 leaf) {
    const u32 key_violation = protection_key_violation(rights, leaf);
    const bool allowed =
        request_.shadow_stack ? shadow_stack_allowed(rights, leaf) : ordinarily_allowed(rights);
    return allowed && key_violation == 0 ? Outcome::Done
                                         : page_fault(kErrorPresent | key_violation);
}

Exchange Walker::set_bits(const Visited& entry) {
    if (pae()) {
        u64 expected = entry.value;
        return cpu_.memory.compare_exchange(entry.address, expected, entry.value | entry.to_set);
    }
    auto expected = static_cast<u32>(entry.value);
    return cpu_.memory.compare_exchange(entry.address, expected,
                                        static_cast<u32>(entry.value | entry.to_set));
}

Outcome Walker::set_accessed_dirty() {
    for (unsigned i = 0; i < visited_count_; ++i) {
        const Visited& entry = visited_[i];
        if (entry.to_set == 0) {
            continue;
        }
        if (cpu_.non_root.second_stage != nullptr) {
            StageTwoAccess access;
            access.access = Access::Write;
            access.paging_structure = true;
            access.paging_structure_write = true;
            access.linear = request_.linear;
            access.user_linear = request_.user();
            StageTwoResult result;
            if (second_stage(guest_of_[i], access, result) != Outcome::Done) {
                return Outcome::Fault;
            }
        }
        switch (set_bits(entry)) {
        case Exchange::Done: break;
        case Exchange::Changed: return Outcome::Retry;
        case Exchange::NotRam:
            // Paging structures in ROM or MMIO: the write goes to the bus (and is usually lost).
            write_physical(cpu_, entry.address, pae() ? 8 : 4, entry.value | entry.to_set);
            break;
        }
    }
    return Outcome::Done;
}

Outcome
Walker::finish(GuestPhysAddr guest, u64 page_bytes, const Rights& rights, Translation& out) {
    StageTwoAccess access;
    access.access = request_.access;
    access.linear = request_.linear;
    access.user_linear = rights.user;
    access.writable_linear = rights.writable;
    access.nx_linear = rights.no_execute;
    access.shadow_stack = request_.shadow_stack;
    StageTwoResult result;
    if (second_stage(guest, access, result) != Outcome::Done) {
        return Outcome::Fault;
    }
    const bool write_ignores_rw = !request_.user() && (cpu_.state.cr0 & cr0::kWp) == 0;
    out.guest = guest;
    out.address = result.address;
    // INVLPG must drop all of the guest's large page, however small EPT cut it
    out.page_bytes = page_bytes;
    out.writable = (rights.writable || write_ignores_rw) && leaf_dirty_ && !key_forbids_write_ &&
                   result.writable;
    if (request_.shadow_stack) {
        out.writable = !key_forbids_write_ && result.writable;
    }
    out.readable = result.readable;
    return Outcome::Done;
}

// The first level and its table. PAE starts at the page directory its PDPTE register names.
Outcome Walker::start_level(unsigned& level, GuestPhysAddr& table) {
    const CpuState& s = cpu_.state;
    if (long_mode()) {
        level = (s.cr4 & cr4::kLa57) != 0 ? 5 : 4;
        table = s.cr3 & bits(~u64{0}, 0, 51) & kPageMask;
        return Outcome::Done;
    }
    level = 2;
    if (!pae()) {
        table = s.cr3 & 0xFFFFF000;
        return Outcome::Done;
    }
    const u64 pdpte = s.pdpte[bits(request_.linear, 30, 31)];
    if ((pdpte & kPresent) == 0) {
        return page_fault(0);
    }
    table = pdpte & bits(~u64{0}, 0, 51) & kPageMask;
    return Outcome::Done;
}

// NOLINTNEXTLINE(readability-function-cognitive-complexity): one walk, read from the root down
Outcome Walker::run_paged(Translation& out) {
    unsigned level = 0;
    GuestPhysAddr table = 0;
    if (start_level(level, table) != Outcome::Done) {
        return Outcome::Fault;
    }
    const unsigned index_bits = pae() ? 9 : 10;
    Rights rights;
    while (true) {
        const unsigned shift = 12 + (level - 1) * index_bits;
        const auto index =
            static_cast<unsigned>(bits(request_.linear, shift, shift + index_bits - 1));
        Visited& entry = visited_[visited_count_];
        entry = {};
        if (read_entry(table, index, entry) != Outcome::Done) {
            return Outcome::Fault;
        }
        guest_of_[visited_count_] = table + index * (pae() ? 8U : 4U);
        ++visited_count_;
        const u64 value = entry.value;
        if ((value & kPresent) == 0) {
            return page_fault(0);
        }
        const bool large_possible =
            level == 2 ? (pae() || (cpu_.state.cr4 & cr4::kPse) != 0)
                       : (level == 3 && long_mode() && cpu_.features.has(Feature::PDPE1GB));
        const bool large = large_possible && (value & kLargePage) != 0;
        const bool leaf = large || level == 1;
        const u64 becomes = leaf && request_.access == Access::Write ? value | kDirty : value;
        note_link(entry.address, becomes & ~(leaf ? kAccessed : kAccessed | kDirty));
        out.chain = chain_;
        if ((value & reserved_mask(level, large)) != 0) {
            return page_fault(kErrorPresent | kErrorReserved);
        }
        rights.tables_writable = rights.writable;
        rights.user = rights.user && (value & kUser) != 0;
        rights.writable = rights.writable && (value & kWritable) != 0;
        rights.no_execute = rights.no_execute || (pae() && (value & kNoExecute) != 0);
        entry.to_set = kAccessed & ~value;
        if (!leaf) {
            table = value & (pae() ? bits(~u64{0}, 0, 51) & kPageMask : u64{0xFFFFF000});
            --level;
            continue;
        }
        if (check_rights(rights, value) != Outcome::Done) {
            return Outcome::Fault;
        }
        if (request_.access == Access::Write) {
            entry.to_set |= kDirty & ~value;
        }
        leaf_dirty_ = ((value | entry.to_set) & kDirty) != 0;
        out.user = rights.user;
        out.protection_key = static_cast<u8>(long_mode() ? bits(value, 59, 62) : 0);
        const u64 page_bytes = u64{1} << shift;
        u64 base = value & bits(~u64{0}, 0, 51) & ~(page_bytes - 1);
        if (!pae()) {
            base = value & 0xFFFFFFFF & ~(page_bytes - 1);
            if (large) {
                base |= bits(value, 13, 20) << 32;
            }
        }
        out.global = (value & kGlobal) != 0 && (cpu_.state.cr4 & cr4::kPge) != 0;
        if (request_.set_accessed_dirty) {
            if (const Outcome outcome = set_accessed_dirty(); outcome != Outcome::Done) {
                return outcome;
            }
        }
        return finish(base | (request_.linear & (page_bytes - 1)), page_bytes, rights, out);
    }
}

Outcome Walker::run(Translation& out) {
    if ((cpu_.state.cr0 & cr0::kPg) == 0) {
        leaf_dirty_ = true;
        out.global = false;
        Rights rights;
        return finish(request_.linear, ~u64{0}, rights, out);
    }
    return run_paged(out);
}

}  // namespace

namespace {

Status walk(Vcpu& cpu, const WalkRequest& request, Translation& out) {
    ++cpu.counters.page_walks;
    while (true) {
        Walker walker(cpu, request);
        switch (walker.run(out)) {
        case Outcome::Done: return Status::Next;
        case Outcome::Fault: return Status::Fault;
        case Outcome::Retry: break;
        }
    }
}

}  // namespace

Status
walk(Vcpu& cpu, LinearAddr linear, Access access, PrivilegeClass privilege, Translation& out) {
    return walk(cpu, WalkRequest{linear, access, privilege}, out);
}

Status walk_shadow_stack(Vcpu& cpu, LinearAddr linear, bool write, bool user, Translation& out) {
    return walk(cpu,
                WalkRequest{linear, write ? Access::Write : Access::Read,
                            user ? PrivilegeClass::User : PrivilegeClass::Supervisor, true, true},
                out);
}

bool inspect(Vcpu& cpu, WalkRequest request, Translation& out) {
    request.set_accessed_dirty = false;
    Walker walker(cpu, request);
    return walker.run(out) == Outcome::Done;
}

bool translate_for_debug(Vcpu& cpu, LinearAddr linear, PhysAddr& out) {
    Translation translation;
    if (!inspect(cpu, {linear, Access::Read, PrivilegeClass::SupervisorAc}, translation)) {
        return false;
    }
    out = translation.address;
    return true;
}

u64 tlb_marks(const Vcpu& cpu, const Translation& translation) {
    const bool large = translation.page_bytes > kPageBytes && (cpu.state.cr0 & cr0::kPg) != 0;
    return (translation.global ? tlb_mark::kGlobal : 0) | (large ? tlb_mark::kLarge : 0) |
           (translation.user ? tlb_mark::kUser : 0) |
           u64{translation.protection_key} << tlb_mark::kKeyShift;
}

PrivilegeClass data_privilege(const Vcpu& cpu) {
    if (cpu.mode.cpl == 3) {
        return PrivilegeClass::User;
    }
    const bool smap_lifted =
        (cpu.state.cr4 & cr4::kSmap) != 0 && (cpu.state.rflags_system & rflags::kAc) != 0;
    return smap_lifted ? PrivilegeClass::SupervisorAc : PrivilegeClass::Supervisor;
}

bool is_canonical(const Vcpu& cpu, u64 linear) {
    const unsigned width = (cpu.state.cr4 & cr4::kLa57) != 0 ? 57 : 48;
    return sign_extend(linear, width) == linear;
}

bool is_canonical_register(const Vcpu& cpu, u64 linear) {
    return sign_extend(linear, cpu.features.linear_address_bits) == linear;
}

Status load_pdptes(Vcpu& cpu, u64 cr3) {
    std::array<u64, 4> loaded{};
    const unsigned physical_bits = cpu.features.physical_address_bits;
    // Bits 2:1, 8:5 and everything from MAXPHYADDR up are reserved. SDM Vol. 3A, "PDPTE Registers".
    const u64 reserved = 0x1E6 | ~bits(~u64{0}, 0, physical_bits - 1);
    for (unsigned i = 0; i < loaded.size(); ++i) {
        const GuestPhysAddr guest = (cr3 & 0xFFFFFFE0) + i * 8;
        PhysAddr address = cpu.a20_enabled ? guest : guest & ~kA20Bit;
        if (cpu.non_root.second_stage != nullptr) {
            StageTwoAccess access;
            access.linear_valid = false;
            StageTwoResult result;
            if (!cpu.non_root.second_stage->translate(cpu, guest, access, result)) {
                cpu.fault_is_vm_exit = true;
                return Status::Fault;
            }
            address = result.address;
        }
        loaded[i] = read_physical(cpu, address, 8);
        if ((loaded[i] & kPresent) != 0 && (loaded[i] & reserved) != 0) {
            return raise(cpu, Exception::GP, 0);
        }
    }
    cpu.state.pdpte = loaded;
    return Status::Next;
}

// The local APIC answers for its page before memory is asked: IA32_APIC_BASE may lay it over RAM.
// SDM Vol. 3A, "Relocating the Local APIC Registers".
u64 read_physical(Vcpu& cpu, PhysAddr address, unsigned bytes) {
    u64 value = 0;
    const bool apic = cpu.apic->claims(address);
    if (const NativePage page = cpu.memory.lookup(address & kPageMask);
        page.native != nullptr && !apic) [[likely]] {
        std::memcpy(&value, page.native + address % kPageBytes, bytes);
        return value;
    }
    ++cpu.counters.mmio_accesses;
    cpu.leave_block(leave::kDevice);
    if (apic) {
        return cpu.apic->mmio_read(static_cast<u32>(address % kPageBytes), bytes);
    }
    value = cpu.bus.mmio_read(address, bytes);
    charge_dma(cpu);
    return value;
}

void write_physical(Vcpu& cpu, PhysAddr address, unsigned bytes, u64 value) {
    const NativePage page = cpu.memory.lookup(address & kPageMask);
    const bool apic = cpu.apic->claims(address);
    if (page.kind == PageKind::Ram && !apic) [[likely]] {
        // Through GuestMemory, so that decoded code there is noticed.
        (void)cpu.memory.write(address, {reinterpret_cast<const u8*>(&value), bytes});
        return;
    }
    if (page.kind == PageKind::Rom && !apic) {
        cpu.log.write(LogCategory::GuestErrors, "write of {:#x} to ROM at {:#x}", value, address);
        return;
    }
    ++cpu.counters.mmio_accesses;
    cpu.leave_block(leave::kDevice);
    if (apic) {
        cpu.apic->mmio_write(static_cast<u32>(address % kPageBytes), bytes,
                             static_cast<u32>(value));
        return;
    }
    cpu.bus.mmio_write(address, bytes, value);
    charge_dma(cpu);
}

void charge_dma(Vcpu& cpu) {
    constexpr u64 kBytesPerInsn = 8;
    cpu.charge(cpu.memory.take_dma_bytes() / kBytesPerInsn);
}

Status fetch_page(Vcpu& cpu, LinearAddr linear, CodePage& out) {
    const LinearAddr page = linear & kPageMask;
    CodeTlb& table = cpu.tlb.current().code[cpu.mode.cpl == 3 ? 1 : 0];
    const CodeTlbEntry& entry = table.at(linear);
    if (entry.tag == page) [[likely]] {
        out = {page, entry.page & kPageMask, entry.native};
        return Status::Next;
    }
    ++cpu.counters.code_tlb_misses;
    if (cpu.mode.long_mode64 && !is_canonical(cpu, linear)) {
        return raise(cpu, Exception::GP, 0);
    }
    Translation translation;
    const PrivilegeClass privilege =
        cpu.mode.cpl == 3 ? PrivilegeClass::User : PrivilegeClass::Supervisor;
    if (const Status status = walk(cpu, linear, Access::Execute, privilege, translation);
        status != Status::Next) {
        return status;
    }
    const PhysAddr physical = translation.address & kPageMask;
    const NativePage native = cpu.memory.lookup(physical);
    out = {page, physical, native.native};
    if (native.native != nullptr && !cpu.apic->claims(physical)) {
        const u64 marks = tlb_marks(cpu, translation);
        table.fill(linear, physical | marks, native.native, translation.chain);
        if ((marks & tlb_mark::kLarge) != 0) {
            note_large_page(cpu.tlb.current(), linear, translation.page_bytes);
        }
    }
    return Status::Next;
}

}  // namespace droste
