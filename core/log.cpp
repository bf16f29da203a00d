#include "core/log.hpp"

namespace droste {

namespace {

struct CategoryRow {
    LogCategory category;
    std::string_view name;
    std::string_view description;
};

// In the order of the enumerators.
constexpr auto kCategories = std::to_array<CategoryRow>({
    {LogCategory::GuestErrors, "guest_errors",
     "accesses nothing answers, bad sizes, reserved values"},
    {LogCategory::Interrupts, "int", "exceptions and interrupts as they are delivered"},
    {LogCategory::InAsm, "in_asm",
     "guest code: each block as it is decoded, and as it is translated"},
    {LogCategory::Exec, "exec", "each block as it is entered"},
    {LogCategory::CpuReset, "cpu_reset", "CPU state at reset and at shutdown"},
    {LogCategory::Mmu, "mmu", "page faults and what is flushed from the TLB"},
    {LogCategory::Unimplemented, "unimp", "what the guest asked for and the machine does not have"},
    {LogCategory::Io, "io", "port and MMIO accesses, as the device that answers sees them"},
    {LogCategory::Apic, "apic", "interrupt messages between IOAPIC and local APICs"},
    {LogCategory::Vmx, "vmx", "failed VMX instructions and VM entries, with the check that failed"},
    {LogCategory::OutAsm, "out_asm", "native code of each translation, with the guest's"},
    {LogCategory::Op, "op", "what became of each instruction that was translated"},
});
static_assert(kCategories.size() == static_cast<std::size_t>(LogCategory::kCount));

}  // namespace

bool Log::enable_by_name(std::string_view name) {
    for (const CategoryRow& row : kCategories) {
        if (row.name == name) {
            enable(row.category);
            return true;
        }
    }
    return false;
}

std::string_view Log::name_of(LogCategory category) {
    return kCategories[static_cast<std::size_t>(category)].name;
}

std::string_view Log::describe(LogCategory category) {
    return kCategories[static_cast<std::size_t>(category)].description;
}

void Log::print(LogCategory category, std::string_view line) {
    std::FILE* out = sink_ != nullptr ? sink_ : stderr;
    const std::string_view name = name_of(category);
    std::fprintf(out, "%.*s: %.*s\n", static_cast<int>(name.size()), name.data(),
                 static_cast<int>(line.size()), line.data());
}

}  // namespace droste
