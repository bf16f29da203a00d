#include "frontends/cli/cpu_choice.hpp"

#include "cpu/x86/model/cpu_models.hpp"
#include "frontends/cli/values.hpp"

#include <algorithm>
#include <array>
#include <cctype>

#include <fmt/format.h>

namespace droste::cli {

namespace {

constexpr std::string_view kVmxPrefix = "vmx-";

std::string lower_case(std::string_view text) {
    std::string out(text);
    std::transform(out.begin(), out.end(), out.begin(), [](char c) {
        return c == '_' ? '-' : static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    });
    return out;
}

CpuItem parse_item(std::string_view text) {
    CpuItem item{std::string(text), lower_case(text), true};
    if (text.starts_with('+') || text.starts_with('-')) {
        item.on = text.starts_with('+');
        item.name.erase(0, 1);
        return item;
    }
    const std::size_t equals = item.name.find('=');
    if (equals == std::string::npos) {
        return item;
    }
    const std::string value = item.name.substr(equals + 1);
    item.name.resize(equals);
    item.on = value == "on" || value == "true" || value == "yes";
    if (!item.on && value != "off" && value != "false" && value != "no") {
        item.name.clear();
    }
    return item;
}

bool is_vmx_feature(const CpuItem& item) {
    return item.name.starts_with(kVmxPrefix);
}

Expected<VmxFeature> known_vmx_feature(const CpuItem& item) {
    const VmxFeature feature = vmx_feature_by_name(item.name);
    if (feature == VmxFeature::kCount) {
        std::array<std::string_view, kVmxFeatureCount> names{};
        for (unsigned i = 0; i < kVmxFeatureCount; ++i) {
            names[i] = row_of(static_cast<VmxFeature>(i)).name;
        }
        return Error{fmt::format("-cpu: no VMX feature '{}'{} (-cpu help lists them)", item.name,
                                 suggestion(item.name, names))};
    }
    if (item.on && !row_of(feature).in_max) {
        return Error{fmt::format("-cpu: '{}' is not implemented", item.name)};
    }
    return feature;
}

// What the items ask for, on top of the model's VMX. `wanted`: features asked for by name.
Expected<void>
apply_vmx_items(const std::vector<CpuItem>& items, VmxFeatures& features, VmxFeatures& wanted) {
    for (const CpuItem& item : items) {
        const auto feature = known_vmx_feature(item);
        if (!feature) {
            return feature.error();
        }
        features.enable(feature.value(), item.on);
        wanted.enable(feature.value(), item.on);
    }
    return {};
}

}  // namespace

std::vector<CpuItem> split_cpu(std::string_view spec) {
    std::vector<CpuItem> items;
    for (std::size_t start = 0; start <= spec.size();) {
        const std::size_t comma = std::min(spec.find(',', start), spec.size());
        CpuItem item = parse_item(spec.substr(start, comma - start));
        if (start == 0) {
            item.name.clear();  // the model
        }
        items.push_back(std::move(item));
        start = comma + 1;
    }
    return items;
}

std::string join_cpu(const std::vector<CpuItem>& items) {
    std::string text;
    for (std::size_t i = 0; i < items.size(); ++i) {
        text += (i == 0 ? "" : ",") + items[i].text;
    }
    return text;
}

Expected<CpuChoice> parse_cpu(std::string_view spec, const NativeFeatures& native) {
    std::vector<CpuItem> cpu_items, vmx_items;
    bool asks_for_vmx = false;
    for (CpuItem& item : split_cpu(spec)) {
        asks_for_vmx = asks_for_vmx || (is_vmx_feature(item) && item.on);
        (is_vmx_feature(item) ? vmx_items : cpu_items).push_back(std::move(item));
    }
    VmxFeatures wanted;
    const CpuModel* model = cpu_model_of(spec);
    const bool has_all = model != nullptr && model->name == "max";
    CpuChoice choice{{}, has_all ? VmxConfig::max() : VmxConfig::nested(), {}, has_all};
    if (const auto applied = apply_vmx_items(vmx_items, choice.vmx.features, wanted); !applied) {
        return applied.error();
    }
    if (asks_for_vmx) {
        const auto last = std::find_if(cpu_items.rbegin(), cpu_items.rend(),
                                       [](const CpuItem& item) { return item.name == "vmx"; });
        if (last != cpu_items.rend() && !last->on) {
            const auto asking = std::find_if(vmx_items.begin(), vmx_items.end(),
                                             [](const CpuItem& item) { return item.on; });
            return Error{fmt::format(
                "-cpu: '{0}' needs 'vmx': '+{0}' and '-vmx' exclude each other", asking->name)};
        }
        cpu_items.push_back(parse_item("+vmx"));  // what is asked for turns on what it needs
    }
    const auto cpu = parse_cpu_model(join_cpu(cpu_items), native);
    if (!cpu) {
        return cpu.error();
    }
    choice.cpu = cpu.value();
    for (const Feature feature : lacking_features(join_cpu(cpu_items), native)) {
        choice.lacking +=
            fmt::format("{}'{}'", choice.lacking.empty() ? "" : ", ", feature_name(feature));
    }
    if (!choice.cpu.has(Feature::VMX)) {
        choice.vmx.features = {};
        return choice;
    }
    for (const DroppedVmxFeature& dropped : make_consistent(choice.vmx.features, choice.cpu)) {
        if (wanted.has(dropped.feature)) {
            return Error{fmt::format("-cpu: '{}' cannot be had: {}", row_of(dropped.feature).name,
                                     dropped.reason)};
        }
    }
    return choice;
}

std::string list_vmx_features() {
    std::string text;
    std::string line;
    for (unsigned i = 0; i < kVmxFeatureCount; ++i) {
        const VmxFeatureRow& row = row_of(static_cast<VmxFeature>(i));
        if (!row.in_max) {
            continue;
        }
        if (line.size() + row.name.size() > 96) {
            text += " " + line + "\n";
            line.clear();
        }
        line += " ";
        line += row.name;
    }
    return text + " " + line + "\n";
}

}  // namespace droste::cli
