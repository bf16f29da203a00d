#include "devices/state_archive.hpp"

#include <algorithm>

#include <fmt/format.h>

namespace droste {

namespace {

constexpr std::size_t bytes_for(unsigned bits) {
    return (bits + 7) / 8;
}

}  // namespace

std::size_t StateArchive::enter(std::string_view name) {
    const std::size_t outer = path_.size();
    if (outer != 0 && !name.starts_with('[')) {
        path_ += '.';
    }
    path_ += name;
    return outer;
}

// A timer is its deadline. Arming it anew would put it behind others of the same deadline, so it is
// left alone where nothing changes.
void StateArchive::visit(Timer& timer) {
    const u64 before = timer.deadline_ns();
    u64 deadline = before;
    number(path_, deadline, 64);
    if (deadline == before) {
        return;
    }
    if (deadline == kNever) {
        timer.disarm();
    } else {
        timer.arm(deadline);
    }
}

void StateSaver::number(const std::string& path, u64& value, unsigned bits) {
    SavedField field = {path, {}, in_over_reset()};
    for (std::size_t i = 0; i < bytes_for(bits); ++i) {
        field.bytes.push_back(static_cast<u8>(value >> (8 * i)));
    }
    fields_.push_back(std::move(field));
}

void StateSaver::bytes(const std::string& path, std::span<u8> contents) {
    fields_.push_back({path, {contents.begin(), contents.end()}, in_over_reset()});
}

StateLoader::StateLoader(const SavedState& fields) {
    for (const SavedField& field : fields) {
        left_.emplace(field.path, &field);
    }
}

const SavedField* StateLoader::take(const std::string& path, std::size_t size) {
    const auto found = left_.find(path);
    const SavedField* field = found == left_.end() ? nullptr : found->second;
    if (field == nullptr || field->bytes.size() != size) {
        wrong_ = wrong_.empty() ? path : wrong_;
        return nullptr;
    }
    left_.erase(found);
    return field;
}

void StateLoader::number(const std::string& path, u64& value, unsigned bits) {
    if (const SavedField* field = take(path, bytes_for(bits)); field != nullptr) {
        value = 0;
        for (std::size_t i = field->bytes.size(); i-- > 0;) {
            value = value << 8 | field->bytes[i];
        }
    }
}

void StateLoader::bytes(const std::string& path, std::span<u8> contents) {
    if (const SavedField* field = take(path, contents.size()); field != nullptr) {
        std::copy(field->bytes.begin(), field->bytes.end(), contents.begin());
    }
}

Expected<void> StateLoader::finish() const {
    if (!wrong_.empty()) {
        return Error{fmt::format("the saved state has no field '{}' of this size", wrong_)};
    }
    if (!left_.empty()) {
        return Error{
            fmt::format("the saved state has a field '{}' that is unknown", left_.begin()->first)};
    }
    return {};
}

void StatePrinter::number(const std::string& path, u64& value, unsigned bits) {
    text_ += bits == 1 ? fmt::format("  {:<28} {}\n", path, value)
             : bits == 64 && value == kNever
                 ? fmt::format("  {:<28} never\n", path)
                 : fmt::format("  {:<28} {:#0{}x}\n", path, value, 2 + bits / 4);
}

void StatePrinter::bytes(const std::string& path, std::span<u8> contents) {
    constexpr std::size_t kBytesPerLine = 16, kMostShown = 256;
    const auto shown = contents.first(std::min(contents.size(), kMostShown));
    text_ += fmt::format("  {} ({} bytes{})", path, contents.size(),
                         shown.size() < contents.size() ? ", the first 256" : "");
    for (std::size_t i = 0; i < shown.size(); ++i) {
        text_ += i % kBytesPerLine == 0 ? fmt::format("\n    {:03x}:", i) : "";
        text_ += fmt::format(" {:02x}", shown[i]);
    }
    text_ += "\n";
}

}  // namespace droste
