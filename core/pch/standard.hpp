// What many files include, compiled once a library if -Db_pch=true says so (.ci/run, stage checked). Files
// include what they use all the same: the release build has no precompiled headers, which ccache
// would not see through.
#include <algorithm>
#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>
