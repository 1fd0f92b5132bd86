// The configuration: layers, ranges, messages, and the echo that must read back.
#include "engine/base/error.h"
#include "tests/support/temp_folder.h"
#include "unet/unet_config.h"

#include <fstream>

#include <catch2/catch.hpp>

namespace unetd {
namespace {

std::string message_of(const std::string& yaml) {
  Config config;
  try {
    apply_yaml(config, yaml, "run.yml");
  } catch (const UsageError& error) {
    return error.what();
  }
  return "";
}

std::string message_of(const ConfigOverride& setting) {
  Config config;
  try {
    apply_override(config, setting);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "";
}

TEST_CASE("a config's YAML reads back as the same config", "[config]") {
  Config config;
  apply_preset(config, "wp99cp");
  apply_override(config, parse_override("loss.class_weights=[0.1, 2,3 ,4]"));
  apply_override(config, parse_override("runtime.device=cuda:1"));
  apply_override(config, parse_override("runtime.kernels=conv2d=eigen,maxpool2x2=ref"));
  apply_override(config, parse_override("optimizer.lr=0.1"));
  apply_override(config, parse_override("training.minutes=0.30000000000000004"));
  Config again;
  apply_yaml(again, to_yaml(config), "echo");
  CHECK(again == config);
  CHECK(again.training.minutes == 0.30000000000000004);
  CHECK(again.runtime.kernels == "conv2d=eigen,maxpool2x2=ref");
  CHECK(again.loss.class_weights.values == std::vector<double>{0.1, 2, 3, 4});
}

TEST_CASE("a loss may be a sum with factors", "[config]") {
  using Type = Config::LossType;
  Config config;
  const auto set = [&](const std::string& sum) {
    apply_override(config, parse_override("loss.type=" + sum));
  };
  set("0.25 dice+cross_entropy");
  CHECK(config.loss.terms == std::vector<Config::LossTerm>{{Type::dice, 0.25}, {}});
  CHECK_FALSE(config.loss.independent_outputs());
  Config again;
  apply_yaml(again, to_yaml(config), "echo");
  CHECK(again == config);
  CHECK(to_yaml(config).find("type: 0.25 dice + cross_entropy\n") != std::string::npos);
  set("bce + 1000 tversky + 1e-9 dice");
  CHECK(config.loss.independent_outputs());
  apply_yaml(again, to_yaml(config), "echo");
  CHECK(again == config);
}

TEST_CASE("every key's default is accepted by the key itself", "[config]") {
  Config config;
  for (const ConfigKey& key : config_keys()) {
    INFO(key.name);
    CHECK_FALSE(key.help.empty());
    CHECK_NOTHROW(apply_override(config, {key.name, key.fallback, "--set"}));
  }
  CHECK(config == Config());
}

TEST_CASE("later layers win", "[config]") {
  const TempFolder folder;
  const std::filesystem::path file = folder / "run.yml";
  std::ofstream(file) << "model: {preset: wp99cp, width: 32}\ntraining: {batch: 4}\n";
  const std::vector<ConfigOverride> overrides = {parse_override("training.batch=2"),
                                                 parse_override("optimizer.eps=1e-7")};
  const Config config = load_config(file, overrides);
  CHECK(config.model.classes == 4);     // preset
  CHECK(config.model.width == 32);      // file over preset
  CHECK(config.training.batch == 2);    // override over file
  CHECK(config.optimizer.eps == 1e-7);  // override over preset
  CHECK(config.loss.pos_weight.values[3] == Approx(11.05).epsilon(1e-3));

  Config stored;
  stored.model.width = 8;
  CHECK(load_config("", overrides, stored).model.width == 8);  // no preset named: the base stands
  CHECK(load_config("", {}, stored) == stored);
}

TEST_CASE("a bad YAML key is met with its place and the nearest key", "[config]") {
  CHECK(message_of("model:\n  width: 32\n  dept: 3\n") ==
        "run.yml:3: unknown key 'model.dept'; did you mean 'model.depth'?");
  CHECK(message_of("optimiser:\n  lr: 1\n") ==
        "run.yml:2: unknown key 'optimiser.lr'; did you mean 'optimizer.lr'?");
  CHECK(message_of("zzzzzzzzzzzz: 1\n") ==
        "run.yml:1: unknown key 'zzzzzzzzzzzz'; --help lists the keys");
  CHECK(message_of("model: 3\n").find("is a group") != std::string::npos);
  CHECK(message_of("model:\n  width:\n").find("has no value") != std::string::npos);
  CHECK(message_of("model: {width: 1}\nmodel: {width: 2}\n").find("set twice") !=
        std::string::npos);
  CHECK(message_of("model:\n  width: [1\n").starts_with("run.yml:"));
  CHECK(message_of("- 1\n- 2\n").find("not a configuration") != std::string::npos);
  CHECK(message_of("model:\n# all commented out\n").empty());
  CHECK(message_of("").empty());
}

TEST_CASE("values are checked against type, range and choices", "[config]") {
  const auto rejected = [](const char* setting) {
    const std::string message = message_of(parse_override(setting));
    return message.starts_with("--set: ") && message.find(" must be ") != std::string::npos;
  };
  CHECK(rejected("training.batch=0"));
  CHECK(rejected("training.batch=2.5"));
  CHECK(rejected("training.batch=2x"));
  CHECK(rejected("training.batch="));
  CHECK(rejected("training.batch=99999999999999999999"));
  CHECK(rejected("optimizer.lr=-1"));
  CHECK(rejected("optimizer.lr=nan"));
  CHECK(rejected("optimizer.lr=inf"));
  CHECK(rejected("optimizer.beta1=1"));
  CHECK(rejected("optimizer.eps=0"));
  CHECK(rejected("model.upsample=nearest"));
  CHECK(rejected("model.conv_bias=yes"));
  CHECK(rejected("model.preset=unet"));
  CHECK(rejected("loss.class_weights=[1, -2]"));
  CHECK(rejected("loss.class_weights=[]"));
  CHECK(rejected("loss.pos_weight=effective_number"));
  CHECK(rejected("loss.type="));
  CHECK(rejected("loss.type=dice +"));
  CHECK(rejected("loss.type=0 dice"));
  CHECK(rejected("loss.type=-1 dice"));
  CHECK(rejected("loss.type=1001 dice"));
  CHECK(rejected("loss.type=half dice"));
  CHECK(rejected("loss.type=dice 0.5"));
  CHECK(rejected("loss.type=0.5 0.5 dice"));
  CHECK(rejected("loss.type=dice + 0.5 dice"));
  CHECK(rejected("loss.type=cross_entropy + bce"));
  CHECK(rejected("loss.tversky_beta=0"));
  CHECK_FALSE(rejected("optimizer.beta1=0.999"));
  CHECK_THROWS_AS(parse_override("training.batch"), UsageError);
  CHECK_THROWS_AS(
      load_config("", std::vector<ConfigOverride>{parse_override("model.classes=3"),
                                                  parse_override("loss.class_weights=[1, 2]")}),
      UsageError);
}

TEST_CASE("every preset loads and names known keys only", "[config]") {
  CHECK(presets().contains("milesial"));
  for (const auto& [name, text] : presets()) {
    INFO(name);
    Config config;
    REQUIRE_NOTHROW(apply_preset(config, name));
    CHECK(config.model.preset == name);
  }
  Config config;
  CHECK_THROWS_AS(apply_preset(config, "nope"), UsageError);
}

TEST_CASE("settings of a network that exclude each other are refused", "[config]") {
  const auto complaint = [](std::initializer_list<const char*> settings) -> std::string {
    Config config;
    for (const char* setting : settings) apply_override(config, parse_override(setting));
    try {
      unet_config(config, 3, 2);
    } catch (const UsageError& error) {
      return error.what();
    }
    return "";
  };
  CHECK_THAT(complaint({"model.padding=valid", "model.upsample=bilinear"}),
             Catch::Contains("model.upsample transposed"));
  CHECK_THAT(complaint({"model.padding=valid", "model.down=strided"}),
             Catch::Contains("model.down maxpool"));
  CHECK_THAT(complaint({"model.padding=valid", "model.fit=resize"}), Catch::Contains("model.fit"));
  CHECK_THAT(complaint({"model.names=aladdinpersson", "model.skips=false"}),
             Catch::Contains("model.names"));
  CHECK(complaint({"model.padding=valid", "model.norm=none", "model.block=single"}).empty());
}

TEST_CASE("a network's settings are the configuration that it is made of", "[config]") {
  for (const auto& [name, text] : presets()) {
    INFO(name);
    Config config;
    apply_preset(config, name);
    const UNetConfig c = unet_config(config, config.model.in_channels == 0 ? 5 : 0,
                                     config.model.classes == 0 ? 3 : 0);
    config.model.in_channels = c.in_channels;
    config.model.classes = c.classes;
    config.model.preset = Config{}.model.preset;
    CHECK(c.settings() == config.model);
  }
}

TEST_CASE("the nearest word is near", "[config]") {
  const std::vector<std::string> words = {"--out", "--overwrite", "--tile"};
  CHECK(nearest_word("--ouput", words) == "--out");
  CHECK(nearest_word("--tiles", words) == "--tile");
  CHECK(nearest_word("zzz", words).empty());
}

}  // namespace
}  // namespace unetd
