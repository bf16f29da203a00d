#pragma once
// VMX instructions of translated code: carry_vmx.cpp.

#include "jit/assembly.hpp"

#include <vector>

namespace droste {
class Vcpu;
}  // namespace droste

namespace droste::jit {

// Notes which fields VMREADs and VMWRITEs of 64-bit code at CPL 0 name, where the code before them
// says so.
void find_vmcs_fields(const Vcpu& cpu, std::vector<Item>& items);

}  // namespace droste::jit
