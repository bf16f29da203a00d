#pragma once
// Memory for generated code, mapped twice: writable at one address, executable at another. No
// mapping is ever both, so a stray write cannot become code. Pages are committed only when touched,
// so a generous reservation costs nothing.

#include "core/types.hpp"

#include <cstddef>
#include <span>

namespace droste {

class ExecutableMemory {
  public:
    explicit ExecutableMemory(std::size_t bytes);
    ~ExecutableMemory();
    ExecutableMemory(const ExecutableMemory&) = delete;
    ExecutableMemory& operator=(const ExecutableMemory&) = delete;

    // Copies position-independent `code` behind what is there already, 16-byte aligned, and returns
    // where it executes.
    const u8* append(std::span<const u8> code);

    const u8* first() const { return executable_; }
    const u8* end() const { return executable_ + bytes_; }
    std::size_t used() const { return used_; }

  private:
    std::size_t bytes_;
    std::size_t used_ = 0;
    u8* writable_ = nullptr;
    const u8* executable_ = nullptr;
};

}  // namespace droste
