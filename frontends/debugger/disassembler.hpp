#pragma once
// One instruction as text, by Capstone. The only file of the program that knows Capstone.

#include "core/types.hpp"

#include <cstddef>
#include <memory>
#include <span>
#include <string>

namespace droste {

class Disassembler {
  public:
    Disassembler();
    ~Disassembler();

    // The instruction at the start of `bytes`; `bits` is 16, 32 or 64. What is none is shown as its
    // bytes; empty without bytes.
    std::string text(std::span<const u8> bytes, unsigned bits, u64 rip);
    // The same, and how many of the bytes it took; 0 without bytes.
    std::size_t next(std::span<const u8> bytes, unsigned bits, u64 rip, std::string& text);

  private:
    struct Handles;
    std::unique_ptr<Handles> handles_;
};

}  // namespace droste
