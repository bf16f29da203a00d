#pragma once
// Reading the files a user names, with one sentence for everything that can be wrong with them.

#include "core/error.hpp"
#include "core/types.hpp"

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace droste {

// Why a file may not be larger than the limit.
enum class LimitIs : u8 { Ram, Fixed };

// The whole file, at most `limit_bytes`. `what` ("kernel", "initrd") names it in an Error's
// sentence: "could not load kernel 'FILE': ...", which runners of test kernels look for.
Expected<std::vector<u8>> read_image_file(std::string_view what,
                                          const std::string& path,
                                          u64 limit_bytes,
                                          LimitIs limit_is = LimitIs::Ram);

bool is_gzip(std::span<const u8> bytes);
// Inflates a gzip file of at most `limit_bytes` contents.
Expected<std::vector<u8>>
gunzip(std::string_view what, const std::string& path, std::span<const u8> bytes, u64 limit_bytes);

}  // namespace droste
