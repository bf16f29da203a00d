#pragma once
// The other side of Device::state(). A device names its fields once; what happens to them is the
// archive's business: saving, loading, showing in the monitor. A pair of save() and load() was
// rejected because the two drift apart, and a field forgotten in both is noticed by nobody; of one
// list a test can ask whether a copy made from it behaves as the original does
// (tests/unit/frontends/device_state_test.cpp).
//
// A field is an integer, a bool, an enumerator, a Timer, a structure with a state() of its own, or an
// array or vector of these; arrays and vectors of bytes are one field. A vector keeps its size.

#include "core/error.hpp"
#include "core/event_queue.hpp"
#include "core/types.hpp"

#include <array>
#include <concepts>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace droste {

class StateArchive {
  public:
    StateArchive() = default;
    StateArchive(const StateArchive&) = delete;
    StateArchive& operator=(const StateArchive&) = delete;
    virtual ~StateArchive() = default;

    template <typename T>
    void operator()(std::string_view name, T& field) {
        const std::size_t outer = enter(name);
        visit(field);
        path_.resize(outer);
    }
    // Fields that a reset leaves as they are: what a battery or another device holds, and notes of
    // the time at which something was looked at.
    template <typename List>
    void over_reset(List list) {
        const bool outer = over_reset_;
        over_reset_ = true;
        list();
        over_reset_ = outer;
    }

  protected:
    // What a field is for the archive: `bits` is its width, or `bytes` its contents. `path` is its
    // name behind those of the structures it is in: "channel[2].mode".
    virtual void number(const std::string& path, u64& value, unsigned bits) = 0;
    virtual void bytes(const std::string& path, std::span<u8> contents) = 0;
    bool in_over_reset() const { return over_reset_; }

  private:
    std::size_t enter(std::string_view name);

    void visit(Timer& timer);
    template <std::size_t kCount>
    void visit(std::array<u8, kCount>& contents) {
        bytes(path_, contents);
    }
    void visit(std::vector<u8>& contents) { bytes(path_, contents); }
    template <typename T, std::size_t kCount>
    void visit(std::array<T, kCount>& fields) {
        visit_each(std::span<T>(fields));
    }
    template <typename T>
    void visit_each(std::span<T> fields) {
        for (std::size_t i = 0; i < fields.size(); ++i) {
            (*this)("[" + std::to_string(i) + "]", fields[i]);
        }
    }
    template <typename T>
    void visit(T& field) {
        if constexpr (std::same_as<T, bool>) {
            u64 value = field ? 1 : 0;
            number(path_, value, 1);
            field = value != 0;
        } else if constexpr (std::integral<T> || std::is_enum_v<T>) {
            static_assert(sizeof(T) <= 8);
            u64 value = 0;
            if constexpr (std::is_enum_v<T>) {
                value = static_cast<u64>(field);
            } else {
                value = static_cast<u64>(static_cast<std::make_unsigned_t<T>>(field));
            }
            number(path_, value, 8 * sizeof(T));
            field = static_cast<T>(value);
        } else {
            field.state(*this);
        }
    }

    std::string path_;
    bool over_reset_ = false;
};

struct SavedField {
    std::string path;
    std::vector<u8> bytes;  // little-endian for a number
    bool over_reset = false;

    bool operator==(const SavedField&) const = default;
};
using SavedState = std::vector<SavedField>;

class StateSaver final : public StateArchive {
  public:
    SavedState take() { return std::move(fields_); }

  protected:
    void number(const std::string& path, u64& value, unsigned bits) override;
    void bytes(const std::string& path, std::span<u8> contents) override;

  private:
    SavedState fields_;
};

// Finds fields by name; one that is missing, left over or of another size is an error.
class StateLoader final : public StateArchive {
  public:
    explicit StateLoader(const SavedState& fields);
    Expected<void> finish() const;

  protected:
    void number(const std::string& path, u64& value, unsigned bits) override;
    void bytes(const std::string& path, std::span<u8> contents) override;

  private:
    const SavedField* take(const std::string& path, std::size_t size);

    std::map<std::string_view, const SavedField*> left_;
    std::string wrong_;  // the first field that could not be loaded
};

// One line a field, for people.
class StatePrinter final : public StateArchive {
  public:
    std::string take() { return std::move(text_); }

  protected:
    void number(const std::string& path, u64& value, unsigned bits) override;
    void bytes(const std::string& path, std::span<u8> contents) override;

  private:
    std::string text_;
};

}  // namespace droste
