#pragma once
// The translator as an engine: interprets code that is run seldom, translates and runs what is run
// often. Everything between blocks is the interpreter's (cpu/x86/interp/interpreter.hpp), so guests
// see the same events at the same instructions in either.

#include "core/error.hpp"
#include "core/types.hpp"
#include "cpu/x86/model/native_features.hpp"
#include "cpu/x86/seams/execution_engine.hpp"
#include "jit/statistics.hpp"

#include <cstddef>
#include <memory>

namespace droste {
class BlockCache;
class MachineLock;
}  // namespace droste

namespace droste::jit {

class CodeCache;
class Listener;

struct Options {
    static constexpr u64 kMostMiB = 2047;  // a jump reaches any of it
    static constexpr u64 kMostThreshold = 1'000'000;

    // Of memory for translated code and what belongs to it: tables, links, jump tables. 1 MiB to
    // kMostMiB.
    std::size_t code_bytes = std::size_t{256} << 20;
    unsigned threshold = 16;  // a block is interpreted so often before it is translated
    // Translations lead to each other. Otherwise each returns to the engine: for comparisons.
    bool link = true;
    Listener* listener = nullptr;  // borrowed; null: nobody wants to know
};

// The code of a machine, shared by the engines of its vCPUs, made of what `native` has. `blocks` is
// told about it and must not outlive it. `lock`: the machine's, if its vCPUs run on threads of their own. An Error if the native machine gives no executable memory, or its CPU is below
// x86-64-v2.
Expected<std::shared_ptr<CodeCache>> make_code_cache(BlockCache& blocks,
                                                     const Options& options,
                                                     const NativeFeatures& native = {},
                                                     MachineLock* lock = nullptr);

// Of the code and of all engines that use it.
Statistics statistics(const CodeCache& code);

std::unique_ptr<ExecutionEngine> make_translator(std::shared_ptr<CodeCache> code,
                                                 const Options& options);

}  // namespace droste::jit
