#pragma once
// VM exits in words, for traces: what the qualification and the other information fields say.

#include "core/types.hpp"
#include "cpu/vmx/exit.hpp"

#include <string>

namespace droste {

struct Vmcs;

// "MOV to CR3 from RAX", "read 4 bytes of port 3F8h", "write of 12345000h, readable" ...; empty if
// there is nothing to say.
std::string describe_qualification(ExitReason reason, u64 qualification, const Vmcs& vmcs);

}  // namespace droste
