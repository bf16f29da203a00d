#pragma once
// What a loader makes of an image: bytes to place in memory and the state the bootstrap processor
// starts in. A plan is data, so loaders are tested without a machine, and a machine that resets
// carries the same plan out again.

#include "core/error.hpp"
#include "core/types.hpp"
#include "frontends/machine/e820.hpp"
#include "frontends/machine/free_memory.hpp"

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace droste {

// How the bootstrap processor stands before its first instruction.
enum class EntryMode : u8 {
    Reset,        // as RESET# leaves it: real mode at FFFFFFF0h
    Protected32,  // flat 4 GiB segments, no paging
    Long64,       // flat, identity page tables
};

struct EntryState {
    EntryMode mode = EntryMode::Reset;
    u64 rip = 0;
    u64 rax = 0, rbx = 0, rsi = 0;
    u16 code_selector = 0x8, data_selector = 0x10;
};

// The loaders' view of the machine.
struct BootEnvironment {
    u64 low_bytes = 0;   // RAM below the PCI hole
    u64 high_bytes = 0;  // RAM above 4 GiB
    PhysAddr acpi_rsdp = 0;
    std::vector<u8> acpi_rsdp_bytes;  // what lies there, for kernels that are handed a copy
    bool long_mode = true;            // the CPU model has it
    // Randomness for the guest's pool; the same bytes in every run with --icount.
    std::vector<u8> seed;

    std::vector<E820Entry> e820() const { return make_e820(low_bytes, high_bytes, true); }
    PhysAddr usable_end() const { return usable_low_end(low_bytes); }
    // What a loader may fill that leaves only a descriptor table below 1 MiB.
    FreeMemory free_memory() const;
};

// What the user asked to boot.
struct BootRequest {
    std::string kernel, initrd, append;
    std::span<const u8>
        builtin;  // the kernel when none is named: the ROM that is part of the program
    std::optional<bool>
        entry_64;  // force the 64-bit or 32-bit entry of a Linux image; default: the image's best
};

class BootPlan {
  public:
    struct Chunk {
        PhysAddr first;
        std::span<const u8> bytes;
        u64 zero_bytes;  // cleared behind `bytes`
    };

    EntryState entry;
    // One line each for -v.
    std::vector<std::string> notes;

    // Places `bytes`, kept by the plan.
    void place(PhysAddr first, std::vector<u8> bytes, u64 zero_bytes = 0);
    // Places part of something given to keep().
    void place_kept(PhysAddr first, std::span<const u8> bytes, u64 zero_bytes = 0);
    std::span<const u8> keep(std::vector<u8> bytes);

    std::span<const Chunk> chunks() const { return chunks_; }

  private:
    std::vector<Chunk> chunks_;
    std::vector<std::unique_ptr<std::vector<u8>>> kept_;
};

// Little-endian record under construction: boot structures are lists of fields at fixed offsets.
class Record {
  public:
    explicit Record(std::size_t bytes) : bytes_(bytes) {}
    void put(std::size_t offset, unsigned width, u64 value);
    void put(std::size_t offset, std::span<const u8> data);
    void append(unsigned width, u64 value);
    void append(std::span<const u8> data);
    void append(std::string_view text);
    void align(std::size_t alignment);
    std::size_t size() const { return bytes_.size(); }
    std::vector<u8>& bytes() { return bytes_; }

  private:
    std::vector<u8> bytes_;
};

// `text` with its terminating zero.
std::vector<u8> zero_terminated(std::string_view text);

// Little-endian field of an image; 0 where it lies beyond the end.
u64 field(std::span<const u8> image, std::size_t offset, unsigned width);

// The flat descriptors behind EntryState's selectors, at memory_map::kBootGdt: index 1 and 2 are
// the 32-bit code and data segments, or with `linux_layout` index 2 and 3 as the Linux boot
// protocol demands.
std::vector<u8> make_boot_gdt(bool linux_layout, bool long_mode);
// Identity map of the first 4 GiB in 2 MiB pages, to lie at memory_map::kBootPageTables.
std::vector<u8> make_identity_page_tables();

}  // namespace droste
