#pragma once
// -cpu as a whole: the CPU's features (cpu/x86/model) and, under QEMU's names vmx-*, those of its
// VMX.
//
// VMX is hidden unless `vmx` is on; `max` has it. With it come all the features today's hypervisors
// know (with `max`: all there are), and vmx-* takes single ones away or asks for them. Rules
// between them are VMX's own (make_consistent): what needs an absent feature goes, too, unless it
// was asked for, which is an error.

#include "core/error.hpp"
#include "cpu/vmx/capabilities.hpp"
#include "cpu/x86/model/native_features.hpp"
#include "cpu/x86/state/features.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace droste::cli {

struct CpuChoice {
    CpuFeatures cpu;
    VmxConfig vmx;  // consistent; all off without VMX
    // What the native CPU cannot run of what the model says, "'avx', 'avx2'"; empty if nothing. `max`
    // is by definition what is there, so only with --icount does that matter for it.
    std::string lacking;
    bool is_max = false;
};

Expected<CpuChoice> parse_cpu(std::string_view spec, const NativeFeatures& native = {});

// "+vmx-ept" and the like, taken apart: a name and whether it is to be on. What has another form
// (a model, family=6) has an empty name.
struct CpuItem {
    std::string text;  // as written
    std::string name;  // lower case, '-' for '_'
    bool on = true;
};
std::vector<CpuItem> split_cpu(std::string_view spec);
std::string join_cpu(const std::vector<CpuItem>& items);

// The names of vmx-* for -cpu help.
std::string list_vmx_features();

}  // namespace droste::cli
