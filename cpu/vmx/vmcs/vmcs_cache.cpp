#include "cpu/vmx/vmcs/vmcs_cache.hpp"

#include "core/guest_memory.hpp"
#include "cpu/x86/mmu/paging.hpp"

#include <algorithm>
#include <cstring>

namespace droste {

namespace {

std::span<u8> bytes_of(VmcsImage& image) {
    return {reinterpret_cast<u8*>(&image), sizeof(image)};
}

}  // namespace

BoundVmcs* VmcsCache::find(PhysAddr address) {
    for (BoundVmcs& entry : entries_) {
        if (entry.address == address) {
            entry.last_use = ++use_counter_;
            return &entry;
        }
    }
    return nullptr;
}

BoundVmcs&
VmcsCache::bind(Vcpu& cpu, PhysAddr address, const BoundVmcs* keep, const BoundVmcs* keep_too) {
    if (BoundVmcs* found = find(address); found != nullptr) {
        return *found;
    }
    // The longest unused one; before those an empty one, behind them those to be kept.
    const auto rank = [&](const BoundVmcs& entry) {
        const bool kept = &entry == keep || &entry == keep_too;
        return kept ? ~u64{0} : entry.bound() ? entry.last_use : 0;
    };
    BoundVmcs& victim = *std::min_element(
        entries_.begin(), entries_.end(),
        [&](const BoundVmcs& a, const BoundVmcs& b) { return rank(a) < rank(b); });
    if (victim.bound()) {
        ++evictions;
        write_back(cpu, victim);
        release(victim);
    }
    ++binds;
    victim.address = address;
    victim.last_use = ++use_counter_;
    load(cpu, victim);
    return victim;
}

void VmcsCache::load(Vcpu& cpu, BoundVmcs& vmcs) {
    vmcs.shadow = (read_physical(cpu, vmcs.address, 4) & kShadowVmcsIndicator) != 0;
    vmcs.launch_state = LaunchState::Clear;
    vmcs.fields = Vmcs{};
    vmcs.blank = true;
    VmcsImage image;
    if (cpu.memory.read(vmcs.address + kVmcsImageOffset, bytes_of(image)) &&
        image.magic == VmcsImage::kMagic) {
        vmcs.launch_state = image.launch_state == LaunchState::Launched ? LaunchState::Launched
                                                                        : LaunchState::Clear;
        vmcs.fields = image.fields;
        vmcs.blank = false;
    }
    vmcs.stale_checks = ~0U;
}

void VmcsCache::write_back(Vcpu& cpu, const BoundVmcs& vmcs) {
    VmcsImage image;
    image.launch_state = vmcs.launch_state;
    image.fields = vmcs.fields;
    // A region outside RAM holds nothing: the next VMPTRLD finds no image there.
    (void)cpu.memory.write(vmcs.address + kVmcsImageOffset, bytes_of(image));
}

void VmcsCache::release(BoundVmcs& vmcs) {
    vmcs.address = kNoVmcs;
    vmcs.last_good.reset();
}

bool VmcsCache::clear(Vcpu& cpu, PhysAddr address) {
    if (BoundVmcs* found = find(address); found != nullptr) {
        found->launch_state = LaunchState::Clear;
        write_back(cpu, *found);
        release(*found);
        return false;
    }
    // Not active here: only the launch state in the region changes. A region never used gets an
    // empty image, so that its data are defined from now on.
    VmcsImage image;
    const bool blank = !cpu.memory.read(address + kVmcsImageOffset, bytes_of(image)) ||
                       image.magic != VmcsImage::kMagic;
    if (blank) {
        image = VmcsImage{};
    }
    image.launch_state = LaunchState::Clear;
    (void)cpu.memory.write(address + kVmcsImageOffset, bytes_of(image));
    return blank;
}

void VmcsCache::write_back_all(Vcpu& cpu) {
    for (BoundVmcs& entry : entries_) {
        if (entry.bound()) {
            write_back(cpu, entry);
            release(entry);
        }
    }
}

void VmcsCache::forget_all() {
    for (BoundVmcs& entry : entries_) {
        release(entry);
    }
}

}  // namespace droste
