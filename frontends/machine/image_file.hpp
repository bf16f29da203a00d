#pragma once
// Reading the files a user names, with one sentence for everything that can be wrong with them.

#include "core/error.hpp"
#include "core/types.hpp"

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace droste {

// The whole file, at most `limit_bytes` (the machine's RAM). `what` ("kernel", "initrd") starts the
// sentence of an Error.
Expected<std::vector<u8>>
read_image_file(std::string_view what, const std::string& path, u64 limit_bytes);

bool is_gzip(std::span<const u8> bytes);
// Inflates a gzip file of at most `limit_bytes` contents.
Expected<std::vector<u8>>
gunzip(std::string_view what, const std::string& path, std::span<const u8> bytes, u64 limit_bytes);

}  // namespace droste
