#pragma once
// The engines, for tests of what a guest may rely on whichever runs it.

#include "cpu/x86/seams/execution_engine.hpp"
#include "cpu/x86/vcpu.hpp"

#include <array>
#include <memory>
#include <string_view>

namespace droste::jit {
class Listener;
}  // namespace droste::jit

namespace droste::test {

enum class EngineKind : u8 { Interpreter, Translator };
inline constexpr std::array kEngines = {EngineKind::Interpreter, EngineKind::Translator};

// As -accel names them.
constexpr std::string_view name(EngineKind kind) {
    return kind == EngineKind::Translator ? "jit" : "interp";
}

// The one that a run of a unit-test program is about: DROSTE_TEST_ENGINE=jit, else the interpreter.
EngineKind chosen_engine();

// An engine for this vCPU, which must outlive it; a translator has a code cache of its own, so that
// there may be one for a vCPU, and translates what it can at first sight.
// `listener`: told what the translator does; borrowed.
std::unique_ptr<ExecutionEngine>
make_engine(EngineKind kind, Vcpu& cpu, jit::Listener* listener = nullptr);
inline std::unique_ptr<ExecutionEngine> make_engine(Vcpu& cpu) {
    return make_engine(chosen_engine(), cpu);
}

}  // namespace droste::test
