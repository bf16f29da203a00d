#include "devices/system/fw_cfg.hpp"

#include "devices/little_endian.hpp"
#include "devices/state_archive.hpp"

#include <algorithm>
#include <cstring>

namespace droste {

namespace {

constexpr u16 kWriteChannel = 0x4000;  // a bit of the selector without meaning today
constexpr u32 kFeatures = 0x3;         // traditional interface and DMA
constexpr std::string_view kDmaSignature = "QEMU CFG";

// Bits of the DMA control word; the selector is in bits 31:16.
constexpr u32 kDmaError = 1U << 0;
constexpr u32 kDmaRead = 1U << 1;
constexpr u32 kDmaSkip = 1U << 2;
constexpr u32 kDmaSelect = 1U << 3;
constexpr u32 kDmaWrite = 1U << 4;

constexpr std::size_t kChunkBytes = 4096;
constexpr std::size_t kNameField = 56;

u64 load_be(std::span<const u8> data) {
    u64 value = 0;
    for (const u8 byte : data) {
        value = value << 8 | byte;
    }
    return value;
}

void append_be(std::vector<u8>& out, u64 value, unsigned bytes) {
    for (unsigned i = bytes; i-- > 0;) {
        out.push_back(static_cast<u8>(value >> (8 * i)));
    }
}

std::vector<u8> little_endian(u64 value, std::size_t bytes) {
    std::vector<u8> out(bytes);
    store_le(out, value);
    return out;
}

}  // namespace

FwCfg::FwCfg(GuestMemory& memory) : memory_(memory) {
    add_bytes(Signature, {'Q', 'E', 'M', 'U'});
    add_u32(Id, kFeatures);
    rebuild_directory();
}

void FwCfg::add_bytes(u16 key, std::vector<u8> bytes) {
    items_[key] = Item{std::move(bytes), nullptr};
}

void FwCfg::add_u16(u16 key, u16 value) {
    add_bytes(key, little_endian(value, sizeof value));
}

void FwCfg::add_u32(u16 key, u32 value) {
    add_bytes(key, little_endian(value, sizeof value));
}

void FwCfg::add_u64(u16 key, u64 value) {
    add_bytes(key, little_endian(value, sizeof value));
}

void FwCfg::add_string(u16 key, const std::string& text) {
    std::vector<u8> bytes(text.begin(), text.end());
    bytes.push_back(0);
    add_bytes(key, std::move(bytes));
}

Expected<void> FwCfg::add_file(const std::string& file_name,
                               std::vector<u8> bytes,
                               std::function<void(std::span<const u8>)> on_write) {
    if (file_name.empty() || file_name.size() > kMaxNameBytes) {
        return Error{fmt::format("fw_cfg: the file name '{}' has {} bytes, 1 to {} are allowed",
                                 file_name, file_name.size(), kMaxNameBytes)};
    }
    if (files_.size() >= kMaxFiles) {
        return Error{fmt::format("fw_cfg: '{}' is one file too many", file_name)};
    }
    if (!files_.try_emplace(file_name, Item{std::move(bytes), std::move(on_write)}).second) {
        return Error{fmt::format("fw_cfg: there are two files named '{}'", file_name)};
    }
    rebuild_directory();
    return {};
}

// The directory: a count, then size, key, reserved and name of each file, big-endian.
void FwCfg::rebuild_directory() {
    std::vector<u8> directory;
    append_be(directory, files_.size(), 4);
    files_by_key_.clear();
    for (auto& [file_name, item] : files_) {
        append_be(directory, item.bytes.size(), 4);
        append_be(directory, FileFirst + files_by_key_.size(), 2);
        append_be(directory, 0, 2);
        directory.insert(directory.end(), file_name.begin(), file_name.end());
        directory.insert(directory.end(), kNameField - file_name.size(), 0);
        files_by_key_.push_back(&item);
    }
    add_bytes(FileDir, std::move(directory));
}

void FwCfg::reset() {
    select(Signature);
    dma_address_ = {};
}

void FwCfg::select(u16 key) {
    key_ = static_cast<u16>(key & ~kWriteChannel);
    position_ = 0;
}

FwCfg::Item* FwCfg::selected() {
    if (key_ >= FileFirst && key_ - FileFirst < static_cast<int>(files_by_key_.size())) {
        return files_by_key_[key_ - FileFirst];
    }
    const auto item = items_.find(key_);
    return item == items_.end() ? nullptr : &item->second;
}

void FwCfg::read(std::span<u8> out) {
    const Item* item = selected();
    std::size_t copied = 0;
    if (item != nullptr && position_ < item->bytes.size()) {
        copied = std::min<std::size_t>(out.size(), item->bytes.size() - position_);
        std::memcpy(out.data(), item->bytes.data() + position_, copied);
        position_ += copied;
    }
    std::fill(out.begin() + static_cast<std::ptrdiff_t>(copied), out.end(), u8{0});
}

IoStatus FwCfg::pio_read(u16 port, std::span<u8> data) {
    if (port >= kDma) {
        for (std::size_t i = 0; i < data.size(); ++i) {
            const std::size_t at = port - kDma + i;
            data[i] = at < kDmaSignature.size() ? static_cast<u8>(kDmaSignature[at]) : 0xFF;
        }
        return IoStatus::Done;
    }
    if (data.size() != 1) {
        return IoStatus::BadSize;
    }
    data[0] = 0;
    if (port == kData) {
        read(data);
    }
    return IoStatus::Done;
}

IoStatus FwCfg::pio_write(u16 port, std::span<const u8> data) {
    if (port < kDma) {
        if (port == kSelector && data.size() == 2) {
            select(static_cast<u16>(load_le(data)));
        } else if (data.size() != 1) {
            return IoStatus::BadSize;
        }
        return IoStatus::Done;  // byte writes to either port do nothing
    }
    for (std::size_t i = 0; i < data.size() && port - kDma + i < kDmaBytes; ++i) {
        dma_address_[port - kDma + i] = data[i];
    }
    if (port - kDma + data.size() >= kDmaBytes) {  // the low half's last byte starts the transfer
        const PhysAddr address = load_be(dma_address_);
        dma_address_ = {};
        run_dma(address);
    }
    return IoStatus::Done;
}

void FwCfg::run_dma(PhysAddr address) {
    std::array<u8, 16> request{};  // control, length, address; big-endian
    if (!memory_.read(address, request)) {
        return;  // nowhere to report it
    }
    const u32 control = static_cast<u32>(load_be(std::span(request).first(4)));
    const u32 length = static_cast<u32>(load_be(std::span(request).subspan(4, 4)));
    const PhysAddr buffer = load_be(std::span(request).subspan(8, 8));
    if ((control & kDmaSelect) != 0) {
        select(static_cast<u16>(control >> 16));
    }
    bool done = true;
    if ((control & kDmaRead) != 0) {
        done = dma_read(buffer, length);
    } else if ((control & kDmaWrite) != 0) {
        done = dma_write(buffer, length);
    } else if ((control & kDmaSkip) != 0) {
        skip(length);
    }
    std::array<u8, 4> answer{};
    answer[3] = done ? 0 : static_cast<u8>(kDmaError);
    static_cast<void>(memory_.write(address, answer));
}

bool FwCfg::dma_read(PhysAddr target, u32 length) {
    const Item* item = selected();
    const u64 size = item == nullptr ? 0 : item->bytes.size();
    if (length > size - std::min(position_, size) + kMaxZeroTail) {
        return false;
    }
    std::array<u8, kChunkBytes> chunk{};
    u64 at = 0;
    while (at < length) {
        const auto part = std::span(chunk).first(std::min<u64>(length - at, chunk.size()));
        read(part);
        if (!memory_.write(target + at, part)) {
            return false;
        }
        at += part.size();
        memory_.note_dma(part.size());
    }
    return true;
}

bool FwCfg::dma_write(PhysAddr source, u32 length) {
    Item* item = selected();
    if (item == nullptr || !item->on_write || position_ > item->bytes.size() ||
        length > item->bytes.size() - position_) {
        return false;
    }
    std::vector<u8> bytes(length);
    if (!memory_.read(source, bytes)) {
        return false;
    }
    memory_.note_dma(bytes.size());
    std::copy(bytes.begin(), bytes.end(),
              item->bytes.begin() + static_cast<std::ptrdiff_t>(position_));
    position_ += length;
    item->on_write(item->bytes);
    return true;
}

void FwCfg::skip(u32 length) {
    const Item* item = selected();
    const u64 size = item == nullptr ? 0 : item->bytes.size();
    position_ = std::min(size, position_ + length);
}

void FwCfg::state(StateArchive& archive) {
    archive("key", key_);
    archive("position", position_);
    archive("dma_address", dma_address_);
    archive.over_reset([&] {
        for (auto& [file_name, item] : files_) {
            if (item.on_write) {
                archive(file_name, item.bytes);
            }
        }
    });
}

}  // namespace droste
