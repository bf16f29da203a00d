#pragma once
// Where things lie in the PC's physical address space, as PC firmware and operating systems expect
// them. RAM below 4 GiB ends at GuestMemory::kLowLimit; from there to 4 GiB is the PCI hole.

#include "core/guest_memory.hpp"
#include "core/types.hpp"

namespace droste::memory_map {

inline constexpr PhysAddr kConventionalEnd = 0x9'FC00;  // below: free; above: EBDA up to A0000h
inline constexpr PhysAddr kVgaHole = 0xA'0000;
inline constexpr u64 kVgaHoleBytes = 0x2'0000;
inline constexpr PhysAddr kBiosArea = 0xE'0000;  // searched for "RSD PTR "; ROM or its shadow
inline constexpr PhysAddr kOneMiB = 0x10'0000;
inline constexpr PhysAddr kPciHole = GuestMemory::kLowLimit;
inline constexpr PhysAddr kIoApic = 0xFEC0'0000;
inline constexpr PhysAddr kHpet = 0xFED0'0000;
inline constexpr PhysAddr kLocalApic = 0xFEE0'0000;
inline constexpr PhysAddr kFourGiB = 0x1'0000'0000;

// What the direct loaders leave below 1 MiB. Up to 4FFh are interrupt vectors and BIOS data. A
// multiboot kernel finds only the descriptor table of kBootGdt here and may be loaded behind it.
inline constexpr PhysAddr kBootGdt = 0x500;
inline constexpr PhysAddr kLowFree = 0x600;
inline constexpr PhysAddr kBootParams = 0x7000;      // Linux zero page; PVH start info
inline constexpr PhysAddr kBootPageTables = 0x9000;  // 6 pages: PML4, PDPT, 4 page directories
inline constexpr PhysAddr kBootSetupData = 0xF000;
inline constexpr PhysAddr kBootCommandLine = 0x2'0000;
inline constexpr u64 kBootCommandLineBytes = 0x1'0000;

// In the BIOS area, when no firmware is there: the ACPI root pointer, the MultiProcessor tables
// (7 KiB with 255 CPUs). The code of bios_remains begins at FE000h, its memory map at FD000h.
inline constexpr PhysAddr kAcpiRsdp = 0xF'0000;
inline constexpr PhysAddr kMpTable = 0xF'0100;

// The top of low RAM holds the ACPI tables (when no firmware builds them): tables, then the FACS
// page.
inline constexpr u64 kAcpiReservedBytes = 0x2'0000;
inline constexpr u64 kAcpiNvsBytes = 0x1000;

}  // namespace droste::memory_map
