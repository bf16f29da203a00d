#pragma once
// The translator as an engine: interprets code that is run seldom, translates and runs what is run
// often. Everything between blocks is the interpreter's (cpu/x86/interp/interpreter.hpp), so guests
// see the same events at the same instructions in either.

#include "core/error.hpp"
#include "cpu/x86/seams/execution_engine.hpp"

#include <cstddef>
#include <memory>

namespace droste {
class BlockCache;
}  // namespace droste

namespace droste::jit {

class CodeCache;

struct Options {
    std::size_t code_bytes = std::size_t{256} << 20;  // of memory for translated code
    unsigned threshold = 16;  // a block is interpreted so often before it is translated
};

// The code of a machine, shared by the engines of its vCPUs. `blocks` is told about it and must not
// outlive it. An Error if the native machine gives no executable memory.
Expected<std::shared_ptr<CodeCache>> make_code_cache(BlockCache& blocks, const Options& options);

std::unique_ptr<ExecutionEngine> make_translator(std::shared_ptr<CodeCache> code,
                                                 const Options& options);

}  // namespace droste::jit
