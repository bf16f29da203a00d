#include "tests/support/engines.hpp"

#include "core/assert.hpp"
#include "cpu/x86/interp/engine.hpp"
#include "jit/engine.hpp"

#include <cstdlib>
#include <utility>

namespace droste::test {

EngineKind chosen_engine() {
    const char* chosen = std::getenv("DROSTE_TEST_ENGINE");
    return chosen != nullptr && std::string_view(chosen) == name(EngineKind::Translator)
               ? EngineKind::Translator
               : EngineKind::Interpreter;
}

std::unique_ptr<ExecutionEngine> make_engine(EngineKind kind, Vcpu& cpu, jit::Listener* listener) {
    if (kind == EngineKind::Interpreter) {
        return make_interpreter();
    }
    const jit::Options options{
        .code_bytes = std::size_t{16} << 20, .threshold = 0, .listener = listener};
    auto code = jit::make_code_cache(*cpu.blocks, options);
    DROSTE_ASSERT(code.has_value());
    return jit::make_translator(std::move(code).value(), options);
}

}  // namespace droste::test
