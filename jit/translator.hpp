#pragma once
// Guest code to native code. See translator.cpp.

#include "jit/code_cache.hpp"
#include "jit/translation.hpp"

namespace droste {
class Vcpu;
}  // namespace droste

namespace droste::jit {

// What translations depend on beside their address: equal keys may be linked.
u32 translation_key(const Vcpu& cpu);

// Whether code of the present mode is translated at all.
bool can_translate(const Vcpu& cpu);

// Translates the code at RIP, which begins with `block`, and what follows it as far as it is
// decoded. Null if it must be interpreted. Requires: can_translate().
Translation* translate(CodeCache& code, Vcpu& cpu, Block& block);

}  // namespace droste::jit
