#pragma once
// Memory for translated code: mapped twice, executable at one address and writable at another.
// Links between translations are patched while others run, so the writable view stays open, unlike
// that of the thunks (cpu/x86/fpu/executable_memory.hpp); its address is known to nobody who
// handles guest data. No page is ever writable and executable at one address.

#include "core/error.hpp"
#include "core/types.hpp"

#include <cstddef>

namespace droste::jit {

class CodeMemory {
  public:
    // `bytes` of address space; pages are committed when they are written. An Error if the native
    // kernel grants no executable memory.
    static Expected<CodeMemory> create(std::size_t bytes);
    CodeMemory(CodeMemory&& other) noexcept;
    ~CodeMemory();
    CodeMemory(const CodeMemory&) = delete;
    CodeMemory& operator=(const CodeMemory&) = delete;
    CodeMemory& operator=(CodeMemory&&) = delete;

    // Code was written there, behind other code. Where that has filled a large page the native kernel
    // is asked to make it one, and the next one, too: a guest's code is spread widely, and the native
    // TLB is small.
    static constexpr std::size_t kLargePageBytes = std::size_t{2} << 20;
    void written(std::size_t first, std::size_t end);

    const u8* executable() const { return executable_; }
    u8* writable() const { return writable_; }
    std::size_t bytes() const { return bytes_; }
    // The writable address of a byte of code, and back.
    u8* writable(const u8* code) const { return writable_ + (code - executable_); }
    const u8* executable(const u8* written) const { return executable_ + (written - writable_); }

  private:
    CodeMemory() = default;

    u8* executable_ = nullptr;
    u8* writable_ = nullptr;
    std::size_t bytes_ = 0;
};

}  // namespace droste::jit
