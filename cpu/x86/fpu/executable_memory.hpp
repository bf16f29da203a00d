#pragma once
// Memory for generated code: executable at one address for good, writable at another only while
// append() writes. No mapping is ever both, and outside of append() none is writable, so a stray
// write, or a guest that has found one, cannot become code. Pages are committed only when touched,
// so a generous reservation costs nothing.
//
// The second mapping is made by duplicating the first (mremap() of shared memory), which takes no
// file descriptor; its address range is reserved from the start, so that making it later cannot
// fail for want of room. Rejected: two mappings of a memfd kept for good (always writable, and a
// sandbox may forbid memfd_create); switching one mapping between writable and executable (a second
// vCPU executes there meanwhile).

#include "core/error.hpp"
#include "core/types.hpp"

#include <cstddef>
#include <span>

namespace droste {

class ExecutableMemory {
  public:
    // What the memory comes from: the first that the native kernel grants.
    enum class Source : u8 { SharedAnonymous, Memfd };

    static Expected<ExecutableMemory> create(std::size_t bytes);
    // From one source only; for tests.
    static Expected<ExecutableMemory> create_from(Source source, std::size_t bytes);
    ExecutableMemory(ExecutableMemory&& other) noexcept;
    ~ExecutableMemory();
    ExecutableMemory(const ExecutableMemory&) = delete;
    ExecutableMemory& operator=(const ExecutableMemory&) = delete;

    // Copies position-independent `code` behind what is there already, 16-byte aligned, and returns
    // where it executes. At most 60 KiB at a time.
    const u8* append(std::span<const u8> code);

    const u8* first() const { return executable_; }
    const u8* end() const { return executable_ + bytes_; }
    // Where append() writes; nothing is mapped there but while it does.
    const u8* window() const { return window_; }

  private:
    ExecutableMemory() = default;

    std::size_t bytes_ = 0;
    std::size_t used_ = 0;
    u8* executable_ = nullptr;
    u8* window_ = nullptr;
};

}  // namespace droste
