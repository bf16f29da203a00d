#pragma once
// What Capstone calls an instruction we decoded.

#include "cpu/x86/decode/insn.hpp"

#include <string>

namespace droste::test {

std::string capstone_mnemonic(const Insn& insn);

}  // namespace droste::test
