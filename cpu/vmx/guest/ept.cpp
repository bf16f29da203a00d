#include "cpu/vmx/guest/ept.hpp"

#include "core/bits.hpp"
#include "core/guest_memory.hpp"
#include "cpu/vmx/exit/exit_qualification.hpp"
#include "cpu/vmx/vmcs/controls.hpp"
#include "cpu/vmx/vmx_state.hpp"
#include "cpu/x86/mmu/paging.hpp"

namespace droste {

namespace {

// EPT paging-structure entries. SDM Vol. 3C, Tables "Format of an EPT Page-Table Entry that Maps a
// 4-KByte Page" etc.
constexpr u64 kRead = 1U << 0, kWrite = 1U << 1, kExecute = 1U << 2, kLeaf = 1U << 7,
              kAccessed = 1U << 8, kDirty = 1U << 9, kUserExecute = 1U << 10,
              kSuppressVe = u64{1} << 63;
constexpr u64 kAddress = 0x000F'FFFF'FFFF'F000;

// Rights as one byte: bits 2:0 as in an entry, bit 3 the execute right of user-mode addresses.
constexpr u8 kRightRead = 1, kRightWrite = 2, kRightExecute = 4, kRightUserExecute = 8;

constexpr u8 rights_of(u64 entry) {
    return static_cast<u8>((entry & 7) | ((entry & kUserExecute) != 0 ? kRightUserExecute : 0));
}

u64 page_bytes_at(unsigned level) {
    return kPageBytes << (9 * (level - 1));
}

// "Memory type" of a leaf, bits 5:3: 2, 3 and 7 are reserved.
constexpr bool memory_type_ok(u64 entry) {
    const u64 type = (entry >> 3) & 7;
    return type != 2 && type != 3 && type != 7;
}

}  // namespace

u64 Ept::tag_of(u64 pointer, bool mode_based_execute) {
    constexpr u64 kNeverZero = 1, kModeBased = 1U << 7;
    return (pointer & (eptp::kAddressMask | eptp::kAccessedDirty)) | kNeverZero |
           (mode_based_execute ? kModeBased : 0);
}

void Ept::activate_another(u64 pointer, bool mode_based_execute) {
    pointer_ = pointer;
    tag_ = tag_of(pointer, mode_based_execute);
    accessed_dirty_ = (pointer & eptp::kAccessedDirty) != 0;
    mode_based_execute_ = mode_based_execute;
}

// "EPT Misconfigurations". Requires: the entry is present.
bool Ept::misconfigured(u64 entry, unsigned level) const {
    const bool executable = (entry & (kExecute | (mode_based_execute_ ? kUserExecute : 0))) != 0;
    if ((entry & kRead) == 0 &&
        ((entry & kWrite) != 0 || (executable && !vmx_.caps.has(VmxFeature::EptExecuteOnly)))) {
        return true;
    }
    const bool leaf = level == 1 || (entry & kLeaf) != 0;
    u64 reserved = bits(~u64{0}, 0, 51) & ~bits(~u64{0}, 0, vmx_.caps.physical_address_bits - 1U);
    if (!leaf) {
        return (entry & (reserved | 0x78)) != 0;
    }
    const bool size_ok = level == 1 || (level == 2 && vmx_.caps.has(VmxFeature::Ept2M)) ||
                         (level == 3 && vmx_.caps.has(VmxFeature::Ept1G));
    if (!size_ok || !memory_type_ok(entry)) {
        return true;
    }
    reserved |= (page_bytes_at(level) - 1) & ~u64{0xFFF};  // address bits below the page
    return (entry & reserved) != 0;
}

Ept::WalkResult Ept::walk(Vcpu& cpu, GuestPhysAddr address, Walk& walk) const {
    walk.rights = 0xF;
    walk.count = 0;
    PhysAddr table = pointer_ & eptp::kAddressMask;
    for (unsigned level = 4; level >= 1; --level) {
        const u64 index = (address >> (12 + 9 * (level - 1))) & 511;
        Step& step = walk.steps[walk.count++];
        step.level = level;
        step.entry_address = table + index * 8;
        step.entry = read_physical(cpu, step.entry_address, 8);
        const u64 present = step.entry & (7 | (mode_based_execute_ ? kUserExecute : 0));
        if (present == 0) {
            walk.rights = 0;
            return WalkResult::NotPresent;
        }
        if (misconfigured(step.entry, level)) {
            return WalkResult::Misconfigured;
        }
        walk.rights &= rights_of(step.entry);
        if (level == 1 || (step.entry & kLeaf) != 0) {
            walk.page_bytes = page_bytes_at(level);
            break;
        }
        table = step.entry & kAddress;
    }
    return WalkResult::Mapped;
}

// With A/D enabled, every access to a guest paging-structure entry counts as a write: "Accessed and
// Dirty Flags for EPT".
Ept::Need Ept::need_of(const StageTwoAccess& access) const {
    using namespace ept_violation;
    if (access.paging_structure) {
        if (accessed_dirty_ || access.paging_structure_write) {
            return {kRightRead | kRightWrite, true, ept_violation::kRead | ept_violation::kWrite};
        }
        return {kRightRead, false, ept_violation::kRead};
    }
    switch (access.access) {
    case Access::Read: return {kRightRead, false, ept_violation::kRead};
    case Access::Write: return {kRightWrite, true, ept_violation::kWrite};
    default: break;
    }
    const bool user = mode_based_execute_ && access.user_linear;
    return {user ? kRightUserExecute : kRightExecute, false, kFetch};
}

bool Ept::translate(Vcpu& cpu,
                    GuestPhysAddr address,
                    const StageTwoAccess& access,
                    StageTwoResult& result) {
    const Need need = need_of(access);
    Mapping& mapping = mappings_[(address >> kPageShift) % kMappings];
    const GuestPhysAddr guest_page = address & kPageMask;
    if (mapping.tag == tag_ && mapping.generation == generation_ &&
        mapping.guest_page == guest_page && (mapping.rights & need.rights) == need.rights &&
        (!need.write || mapping.dirty) &&
        read_physical(cpu, mapping.leaf_address, 8) == mapping.leaf) {
        ++cache_hits;
        finish(mapping, address, access.user_linear, result);
        return true;
    }
    while (true) {
        ++walks;
        Walk steps;
        // Guest-physical addresses have as many bits as physical ones; four levels translate 48.
        const WalkResult outcome =
            (address >> 48) == 0 ? walk(cpu, address, steps) : WalkResult::NotPresent;
        if (outcome == WalkResult::Misconfigured) {
            ++misconfigurations;
            exit_later(ExitReason::EPT_MISCONFIGURATION, 0, address, 0);
            return false;
        }
        if (outcome == WalkResult::NotPresent || (steps.rights & need.rights) != need.rights) {
            violate(cpu, address, access, need, steps);
            return false;
        }
        if (accessed_dirty_) {
            switch (set_accessed_dirty(cpu, address, steps, need.write)) {
            case Update::Done: break;
            case Update::Retry: continue;
            case Update::Exit: return false;
            }
        }
        const u64 leaf = steps.last().entry;
        mapping.tag = tag_;
        mapping.generation = generation_;
        mapping.guest_page = guest_page;
        mapping.leaf_address = steps.last().entry_address;
        mapping.leaf = leaf;
        mapping.page =
            ((leaf & kAddress) & ~(steps.page_bytes - 1)) | (guest_page & (steps.page_bytes - 1));
        mapping.page_bytes = steps.page_bytes;
        mapping.rights = steps.rights;
        mapping.dirty = !accessed_dirty_ || (leaf & kDirty) != 0;
        finish(mapping, address, access.user_linear, result);
        return true;
    }
}

void Ept::finish(const Mapping& mapping,
                 GuestPhysAddr address,
                 bool user,
                 StageTwoResult& result) const {
    result.address = mapping.page | (address % kPageBytes);
    result.page_bytes = mapping.page_bytes;
    result.readable = (mapping.rights & kRightRead) != 0;
    result.writable = (mapping.rights & kRightWrite) != 0 && mapping.dirty;
    const u8 execute = mode_based_execute_ && user ? kRightUserExecute : kRightExecute;
    result.executable = (mapping.rights & execute) != 0;
}

bool Ept::translate_for_debug(Vcpu& cpu, GuestPhysAddr address, StageTwoResult& result) {
    Walk steps;
    if ((address >> 48) != 0 || walk(cpu, address, steps) != WalkResult::Mapped) {
        return false;
    }
    Mapping mapping;
    mapping.page = ((steps.last().entry & kAddress) & ~(steps.page_bytes - 1)) |
                   (address & kPageMask & (steps.page_bytes - 1));
    mapping.page_bytes = steps.page_bytes;
    mapping.rights = steps.rights;
    mapping.dirty = true;
    finish(mapping, address, false, result);
    return true;
}

Ept::Steps Ept::explain(Vcpu& cpu, GuestPhysAddr address) const {
    Walk steps;
    (void)walk(cpu, address, steps);
    return steps;
}

void Ept::exit_later(ExitReason reason,
                     u64 qualification,
                     GuestPhysAddr address,
                     LinearAddr linear) {
    ExitInfo info;
    info.reason = reason;
    info.qualification = qualification;
    info.guest_physical = address;
    info.guest_linear = linear;
    vmx_.guest.pending = {PendingExit::Kind::Exit, info};
}

// "Convertible EPT Violations".
bool Ept::convertible_to_ve(Vcpu& cpu, const Walk& walk) const {
    if (!vmx_.guest.controls.has2(proc2::kEptViolationVe) || !cpu.mode.protected_mode ||
        vmx_.guest.delivering || walk.count == 0 || (walk.last().entry & kSuppressVe) != 0) {
        return false;
    }
    constexpr u64 kBusyOffset = 4;
    return read_physical(cpu, vmx_.vmcs().ve_information_address + kBusyOffset, 4) == 0;
}

void Ept::violate(Vcpu& cpu,
                  GuestPhysAddr address,
                  const StageTwoAccess& access,
                  const Need& need,
                  const Walk& walk) {
    using namespace ept_violation;
    ++violations;
    u64 qualification = need.qualification | (u64{walk.rights & 7U} << 3);
    if (mode_based_execute_ && (walk.rights & kRightUserExecute) != 0) {
        qualification |= kUserExecutable;
    }
    if (access.linear_valid) {
        qualification |= kLinearValid | (access.paging_structure ? 0 : kTranslated);
        if (!access.paging_structure && vmx_.caps.has(VmxFeature::EptAdvancedInformation)) {
            qualification |= (access.user_linear ? kUserLinear : 0) |
                             (access.writable_linear ? kWritableLinear : 0) |
                             (access.nx_linear ? kNxLinear : 0);
        }
    }
    const bool shadow_stack = access.shadow_stack && !access.paging_structure;
    if (shadow_stack && cpu.features.has(Feature::CET_SS)) {
        qualification |= kShadowStack;
    }
    const LinearAddr linear = access.linear_valid ? access.linear : 0;
    if (!convertible_to_ve(cpu, walk)) {
        exit_later(ExitReason::EPT_VIOLATION, qualification, address, linear);
        return;
    }
    // "Virtualization-Exception Information".
    const Vmcs& v = vmx_.vmcs();
    const PhysAddr area = v.ve_information_address;
    write_physical(cpu, area, 4, static_cast<u32>(ExitReason::EPT_VIOLATION));
    write_physical(cpu, area + 4, 4, 0xFFFF'FFFF);
    write_physical(cpu, area + 8, 8, qualification);
    write_physical(cpu, area + 16, 8, linear);
    write_physical(cpu, area + 24, 8, address);
    write_physical(cpu, area + 32, 2, v.eptp_index);
    vmx_.guest.pending = {PendingExit::Kind::VirtualizationException, {}};
}

// Sets accessed flags on the way and the dirty flag of the leaf, as locked operations. A first
// write to a page is logged before: "Page-Modification Logging".
Ept::Update Ept::set_accessed_dirty(Vcpu& cpu, GuestPhysAddr address, Walk& walk, bool write) {
    Vmcs& v = vmx_.vmcs();
    const bool becomes_dirty = write && (walk.last().entry & kDirty) == 0;
    const bool logs = becomes_dirty && vmx_.guest.controls.has2(proc2::kEnablePml);
    constexpr u16 kLogEntries = 512;
    if (logs && v.pml_index >= kLogEntries) {
        exit_later(ExitReason::PML_FULL, 0, address, 0);
        return Update::Exit;
    }
    for (unsigned i = 0; i < walk.count; ++i) {
        Step& step = walk.steps[i];
        const bool leaf = i + 1 == walk.count;
        const u64 updated = step.entry | kAccessed | (leaf && becomes_dirty ? kDirty : 0);
        if (updated == step.entry) {
            continue;
        }
        u64 expected = step.entry;
        switch (cpu.memory.compare_exchange(step.entry_address, expected, updated)) {
        case Exchange::Done: break;
        case Exchange::Changed: return Update::Retry;
        case Exchange::NotRam: continue;
        }
        step.entry = updated;
    }
    if (logs) {
        write_physical(cpu, v.pml_address + v.pml_index * 8U, 8, address & kPageMask);
        --v.pml_index;
    }
    return Update::Done;
}

}  // namespace droste
