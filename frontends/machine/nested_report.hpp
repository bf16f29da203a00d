#pragma once
// Is a machine configured properly for a hypervisor that runs in it? Item by item, from its
// configuration: `droste nested status` prints it, the guest reads it through fw_cfg
// (opt/droste/nested).
//
// missing: a hypervisor does not start, or loses what its guests count on. warn: it runs, but
// slower or with less. What single hypervisors need comes from their own start-up checks: Linux 6.1
// (arch/x86/kvm/vmx), Xen 4.17 (xen/arch/x86/hvm/vmx), Microsoft's system requirements for Hyper-V.

#include "core/types.hpp"
#include "frontends/machine/config.hpp"

#include <span>
#include <string>
#include <vector>

namespace droste {

struct NestedItem {
    enum class State : u8 { Ok, Warn, Missing };
    State state = State::Ok;
    std::string name;
    std::string reason;
};

std::vector<NestedItem> nested_report(const MachineConfig& config);
// "ok       EPT             ..." lines.
std::string render_nested_report(std::span<const NestedItem> items);
std::size_t count_missing(std::span<const NestedItem> items);

// The least memory for a Linux with KVM and a small guest; what `nested enable` chooses.
inline constexpr u64 kLeastNestedRam = u64{512} << 20;
inline constexpr u64 kProposedNestedRam = u64{1} << 30;

}  // namespace droste
