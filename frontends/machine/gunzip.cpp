// The only user of zlib: compressed kernels (Debian ships Xen as .gz).
#include "frontends/machine/image_file.hpp"

#include <zlib.h>

#include <algorithm>

#include <fmt/format.h>

namespace droste {

namespace {

class Inflater {
  public:
    // 15 window bits; + 16: expect a gzip header.
    Inflater() : ready_(inflateInit2(&stream_, 15 + 16) == Z_OK) {}
    ~Inflater() { inflateEnd(&stream_); }
    Inflater(const Inflater&) = delete;
    Inflater& operator=(const Inflater&) = delete;
    bool ready() const { return ready_; }
    z_stream& stream() { return stream_; }

  private:
    z_stream stream_{};
    bool ready_;
};

}  // namespace

bool is_gzip(std::span<const u8> bytes) {
    return bytes.size() >= 18 && bytes[0] == 0x1F && bytes[1] == 0x8B && bytes[2] == 8;
}

Expected<std::vector<u8>>
gunzip(std::string_view what, const std::string& path, std::span<const u8> bytes, u64 limit_bytes) {
    Inflater inflater;
    if (!inflater.ready()) {
        return Error{fmt::format("{} '{}': no memory to uncompress it", what, path)};
    }
    z_stream& stream = inflater.stream();
    std::vector<u8> input(bytes.begin(), bytes.end());  // zlib's interface is not const-correct
    stream.next_in = input.data();
    stream.avail_in = static_cast<uInt>(std::min<std::size_t>(input.size(), ~uInt{0}));
    std::vector<u8> out;
    int result = Z_OK;
    while (result == Z_OK) {
        constexpr std::size_t kStep = std::size_t{4} << 20;
        const std::size_t done = out.size();
        if (done > limit_bytes) {
            return Error{
                fmt::format("{} '{}': uncompressed it does not fit into memory", what, path)};
        }
        out.resize(done + kStep);
        stream.next_out = out.data() + done;
        stream.avail_out = kStep;
        result = inflate(&stream, Z_NO_FLUSH);
        out.resize(done + kStep - stream.avail_out);
    }
    if (result != Z_STREAM_END) {
        return Error{fmt::format("{} '{}': its gzip data is truncated or damaged", what, path)};
    }
    return out;
}

}  // namespace droste
