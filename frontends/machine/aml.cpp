#include "frontends/machine/aml.hpp"

#include "core/assert.hpp"

namespace droste {

namespace {

constexpr u8 kNameOp = 0x08, kBytePrefix = 0x0A, kWordPrefix = 0x0B, kDwordPrefix = 0x0C,
             kStringPrefix = 0x0D, kQwordPrefix = 0x0E;

// "Package Length Encoding": the length counts its own bytes.
std::vector<u8> package_length(std::size_t contents) {
    if (contents + 1 < 0x40) {
        return {static_cast<u8>(contents + 1)};
    }
    std::size_t following = 1;
    while (contents + 1 + following >= (std::size_t{1} << (4 + 8 * following))) {
        ++following;
    }
    DROSTE_ASSERT(following <= 3);
    const std::size_t length = contents + 1 + following;
    std::vector<u8> encoded = {static_cast<u8>((following << 6) | (length & 0xF))};
    for (std::size_t i = 0; i < following; ++i) {
        encoded.push_back(static_cast<u8>(length >> (4 + 8 * i)));
    }
    return encoded;
}

}  // namespace

void AmlBuilder::name(std::string_view path, u64 value) {
    bytes_.push_back(kNameOp);
    append(path);
    struct Width {
        u64 limit;
        u8 prefix;
        unsigned count;
    };
    constexpr Width kWidths[] = {{0xFF, kBytePrefix, 1},
                                 {0xFFFF, kWordPrefix, 2},
                                 {0xFFFF'FFFF, kDwordPrefix, 4},
                                 {~u64{0}, kQwordPrefix, 8}};
    for (const Width& width : kWidths) {
        if (value <= width.limit) {
            bytes_.push_back(width.prefix);
            for (unsigned i = 0; i < width.count; ++i) {
                bytes_.push_back(static_cast<u8>(value >> (8 * i)));
            }
            return;
        }
    }
}

void AmlBuilder::name(std::string_view path, std::string_view text) {
    bytes_.push_back(kNameOp);
    append(path);
    bytes_.push_back(kStringPrefix);
    append(text);
    bytes_.push_back(0);
}

void AmlBuilder::begin(std::initializer_list<u8> opcode, std::string_view path) {
    bytes_.insert(bytes_.end(), opcode);
    open_.push_back(bytes_.size());
    append(path);
}

void AmlBuilder::end() {
    DROSTE_ASSERT(!open_.empty());
    const std::size_t at = open_.back();
    open_.pop_back();
    const std::vector<u8> length = package_length(bytes_.size() - at);
    bytes_.insert(bytes_.begin() + static_cast<std::ptrdiff_t>(at), length.begin(), length.end());
}

}  // namespace droste
