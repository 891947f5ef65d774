#include <sentencepiece_trainer.h>

#include <algorithm>
#include <cinttypes>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <iostream>
#include <iterator>
#include <streambuf>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

extern "C" {
#include "core/file.h"
#include "core/text.h"
#include "dataset/sample.h"
#include "dataset/split.h"
#include "dataset/tokenizer_model.h"
}
#include "dataset/tokenizer_train.h"

namespace spm = sentencepiece;

namespace {

/* --- words: what the trainer learns from --- */

/* Longer ones are cut; a piece has at most 16 characters. */
const size_t kLongestWord = 4096;

/* The trainer reads U+2581 as a space and skips what holds U+2585: both are left out. */
size_t ExcludedBytes(const char *text, size_t bytes) {
  const bool is =
      bytes >= 3 && (memcmp(text, "\xE2\x96\x81", 3) == 0 || memcmp(text, "\xE2\x96\x85", 3) == 0);
  return is ? 3 : 0;
}

/* Pieces never lie across these: the trainer sees lines, and splits at tabs. */
bool IsSeparator(char byte) { return byte == '\n' || byte == '\r' || byte == '\t'; }

class Words {
 public:
  /* Counts the words of a text: runs of spaces with what follows up to the next space. */
  void Add(const char *text, size_t bytes) {
    size_t begin = 0, at = 0;
    while (at < bytes) {
      const size_t skip = IsSeparator(text[at]) ? 1 : ExcludedBytes(text + at, bytes - at);
      const bool starts = at > begin && text[at] == ' ' && text[at - 1] != ' ';
      if (skip > 0 || starts) {
        Count(text + begin, at - begin);
        begin = at += skip;
      } else if (at - begin >= kLongestWord) {
        at = begin + lap_utf8_floor(text + begin, at - begin);
        Count(text + begin, at - begin);
        begin = at;
      }
      if (at < bytes && skip == 0) ++at;
    }
    Count(text + begin, bytes - begin);
  }

  const std::unordered_map<std::string, uint64_t> &counts() const { return counts_; }

 private:
  void Count(const char *word, size_t bytes) {
    if (bytes == 0) return;
    key_.assign(word, bytes);
    ++counts_[key_];
  }

  std::unordered_map<std::string, uint64_t> counts_;
  std::string key_;
};

/* --- characters: which become pieces --- */

const double kUsualCoverage = .9995;

struct Character {
  std::string text;
  uint64_t count;
};

/* Most frequent first. */
std::vector<Character> CountCharacters(const Words &words, uint64_t *total) {
  std::unordered_map<std::string, uint64_t> counts;
  *total = 0;
  for (const auto &[word, count] : words.counts()) {
    for (size_t at = 0; at < word.size();) {
      const size_t length = lap_utf8_character(word.data() + at, word.size() - at);
      counts[word.substr(at, length)] += count;
      *total += count;
      at += length;
    }
  }
  std::vector<Character> characters;
  characters.reserve(counts.size());
  for (const auto &[text, count] : counts) characters.push_back({text, count});
  std::sort(characters.begin(), characters.end(), [](const Character &a, const Character &b) {
    return a.count != b.count ? a.count > b.count : a.text < b.text;
  });
  return characters;
}

/* How many of the most frequent characters make up this share of the text: SentencePiece's own
 * rule, with its rounding. Not left to it because it takes no share below .98. */
size_t CharactersFor(const std::vector<Character> &characters, uint64_t total, double share) {
  uint64_t covered = 0;
  for (size_t i = 0; i < characters.size(); ++i) {
    const double so_far = 1.0 * static_cast<double>(covered) / static_cast<double>(total);
    if (static_cast<float>(so_far) >= static_cast<float>(share)) return i;
    covered += characters[i].count;
  }
  return characters.size();
}

double CoverageOf(const std::vector<Character> &characters, uint64_t total, size_t kept) {
  uint64_t covered = 0;
  for (size_t i = 0; i < kept; ++i) covered += characters[i].count;
  return total > 0 ? static_cast<double>(covered) / static_cast<double>(total) : 1;
}

/* Special pieces, runs of line breaks and tabs, bytes. */
const uint32_t kFixedPieces = 4 + 8 + 256;
const uint32_t kSmallestVocabulary = kFixedPieces + 1;

lap_code ChooseCharacters(const lap_tokenizer_training &training,
                          const std::vector<Character> &characters, uint64_t total,
                          lap_tokenizer_report *report, lap_status *status) {
  const size_t room = training.vocab_size - kFixedPieces;
  const double wanted = training.character_coverage;
  size_t kept = CharactersFor(characters, total, wanted > 0 ? wanted : kUsualCoverage);
  if (kept > room && wanted > 0)
    return lap_fail(status, LAP_USAGE,
                    "a vocabulary of %u is too small for this text: a --character-coverage of %g "
                    "takes %zu characters, and there is room for %zu; ask for --vocab-size %zu or "
                    "more, or a coverage of %.4f or less",
                    training.vocab_size, wanted, kept, room, kept + kFixedPieces,
                    CoverageOf(characters, total, room));
  if (kept > room) {
    kept = std::max<size_t>(1, room - room / 4);
    report->coverage_lowered = true;
  }
  report->characters = characters.size();
  report->character_pieces = kept;
  report->coverage = CoverageOf(characters, total, kept);
  return LAP_OK;
}

/* --- what SentencePiece asks for, and what it says --- */

/* Hands out "word\tcount"; a word with rare characters in it is several. `last`, where it is not
 * empty, is handed out after all of them as it stands. */
class WordIterator final : public spm::SentenceIterator {
 public:
  WordIterator(const Words &words, const std::vector<Character> &characters, size_t kept,
               const std::string &last = {})
      : next_(words.counts().begin()), end_(words.counts().end()), last_(last) {
    for (size_t i = kept; i < characters.size(); ++i) rare_.insert(characters[i].text);
    Next();
  }
  bool done() const override { return done_; }
  const std::string &value() const override { return value_; }
  spm::util::Status status() const override { return {}; }

  void Next() override {
    while (at_ == word_.size()) {
      if (next_ == end_) {
        done_ = last_.empty();
        value_.swap(last_);
        last_.clear();
        return;
      }
      word_ = next_->first;
      count_ = std::to_string(next_->second);
      at_ = 0;
      ++next_;
      SkipRare();
    }
    const size_t begin = at_;
    while (at_ < word_.size() && !IsRare()) at_ += Length();
    value_.assign(word_, begin, at_ - begin);
    value_ += '\t';
    value_ += count_;
    SkipRare();
  }

 private:
  size_t Length() const { return lap_utf8_character(word_.data() + at_, word_.size() - at_); }
  bool IsRare() const { return !rare_.empty() && rare_.count(word_.substr(at_, Length())) > 0; }
  void SkipRare() {
    while (at_ < word_.size() && IsRare()) at_ += Length();
  }

  std::unordered_map<std::string, uint64_t>::const_iterator next_, end_;
  std::unordered_set<std::string> rare_;
  std::string word_, count_, value_, last_;
  size_t at_ = 0;
  bool done_ = false;
};

/* The trainer has no way to ask how far it is but its log, which goes to std::cerr: while this
 * lives, the log comes here. Errors go on to where they went before. */
class TrainerLog final : public std::streambuf {
 public:
  TrainerLog(const lap_progress_hook *hook, uint64_t pieces)
      : hook_(hook), pieces_(pieces), before_(std::cerr.rdbuf(this)) {
    Report(0);
  }
  ~TrainerLog() override { std::cerr.rdbuf(before_); }

 protected:
  int overflow(int byte) override {
    if (byte == '\n') {
      Line();
      line_.clear();
    } else if (byte != EOF) {
      line_ += static_cast<char>(byte);
    }
    return byte == EOF ? 0 : byte;
  }

 private:
  /* Much of the log has several lines: what is no error by its looks is let go. */
  static bool IsError(const std::string &line) {
    static const char *const signs[] = {"LOG(ERROR)", "LOG(FATAL)", ") [", "unrecoverable"};
    return std::any_of(std::begin(signs), std::end(signs),
                       [&](const char *sign) { return line.find(sign) != std::string::npos; });
  }

  void Line() {
    const size_t added = line_.find("LOG(INFO) Added: "), size = line_.find(" size=");
    if (added != std::string::npos && size != std::string::npos) {
      Report(strtoull(line_.c_str() + size + strlen(" size="), nullptr, 10));
    } else if (line_.find("LOG(INFO)") == std::string::npos && IsError(line_)) {
      line_ += '\n';
      before_->sputn(line_.data(), static_cast<std::streamsize>(line_.size()));
    }
  }

  void Report(uint64_t learned) {
    lap_progress_state state = {};
    state.step = "learn pieces";
    state.unit = "pieces";
    state.done = std::min(learned, pieces_);
    state.total = pieces_;
    lap_progress_report(hook_, state);
  }

  const lap_progress_hook *hook_;
  const uint64_t pieces_;
  std::streambuf *before_;
  std::string line_;
};

/* Line breaks and tabs never lie inside a learned piece. So runs of up to four are pieces of their
 * own. Runs of spaces are learned. */
const char kOwnPieces[] = "\n,\n\n,\n\n\n,\n\n\n\n,\t,\t\t,\t\t\t,\t\t\t\t";

std::unordered_map<std::string, std::string> TrainerOptions(uint32_t vocab_size) {
  return {{"model_type", "bpe"},
          {"vocab_size", std::to_string(vocab_size)},
          {"input_format", "tsv"},
          {"character_coverage", "1.0"}, /* of what it is given */
          {"byte_fallback", "true"},
          {"split_digits", "true"},
          {"allow_whitespace_only_pieces", "true"},
          {"normalization_rule_name", "identity"},
          {"add_dummy_prefix", "false"},
          {"remove_extra_whitespaces", "false"},
          {"user_defined_symbols", kOwnPieces},
          {"pad_id", "0"},
          {"eos_id", "1"},
          {"bos_id", "2"},
          {"unk_id", "3"},
          {"max_sentence_length", "65536"},
          {"num_threads", "1"},
          {"minloglevel", "0"}};
}

lap_code TooLarge(uint32_t vocab_size, uint64_t most, lap_status *status) {
  return lap_fail(status, LAP_USAGE,
                  "a vocabulary of %u is too large for this text: it holds at most %" PRIu64
                  " pieces; ask for fewer or give more text",
                  vocab_size, most);
}

/* The library knows what vocabulary a text can fill only when it has tried. */
lap_code ExplainTrainer(const char *message, uint32_t vocab_size, lap_status *status) {
  const char *most = strstr(message, "to a value <= ");
  if (strstr(message, "too high") && most)
    return TooLarge(vocab_size, strtoull(most + strlen("to a value <= "), nullptr, 10), status);
  return lap_fail(status, LAP_DATA, "SentencePiece cannot train on this text: %s", message);
}

/* --- whether there is anything to learn --- */

bool IsLetter(char byte) { return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z'); }

bool Contains(const std::vector<Character> &characters, size_t count, const char *text) {
  return std::any_of(characters.begin(), characters.begin() + static_cast<std::ptrdiff_t>(count),
                     [&](const Character &character) { return character.text == text; });
}

/* Whether a word that the trainer sees has two letters of English beside each other, which make a
 * piece in any case. */
bool HasLetters(const Words &words, const std::vector<Character> &characters, size_t kept) {
  for (WordIterator i(words, characters, kept); !i.done(); i.Next())
    for (size_t at = 1; at < i.value().size(); ++at)
      if (IsLetter(i.value()[at - 1]) && IsLetter(i.value()[at])) return true;
  return false;
}

/* Whether any two characters beside each other make a piece; digits and most signs make none. The
 * trainer reads from an empty list where none do, and which do only the library knows. It is asked
 * for two learned pieces of the text and one word more, which makes one of them; the other is then
 * of the text. */
bool HasPairs(const Words &words, const std::vector<Character> &characters, size_t kept) {
  if (HasLetters(words, characters, kept)) return true;
  const size_t own = !Contains(characters, kept, "a") + !Contains(characters, kept, "b");
  WordIterator iterator(words, characters, kept, "ab\t1");
  const TrainerLog log(nullptr, 0);
  std::string model;
  const auto options = TrainerOptions(static_cast<uint32_t>(kFixedPieces + kept + own + 2));
  return spm::SentencePieceTrainer::Train(options, &iterator, &model).ok();
}

/* --- the model --- */

/* Reads a varint of protobuf and goes past; false where there is none. */
bool TakeVarint(const std::string &bytes, size_t *at, uint64_t *value) {
  *value = 0;
  for (int shift = 0; shift < 64 && *at < bytes.size(); shift += 7) {
    const auto byte = static_cast<uint8_t>(bytes[(*at)++]);
    *value |= static_cast<uint64_t>(byte & 0x7F) << shift;
    if (byte < 0x80) return true;
  }
  return false;
}

void PutVarint(uint64_t value, std::string *bytes) {
  for (; value >= 0x80; value >>= 7) *bytes += static_cast<char>(value | 0x80);
  *bytes += static_cast<char>(value);
}

/* Goes past one field of a message; false at its end, or where it is none of the kinds that a model
 * has. *body and *body_bytes: what a field with a length holds. */
bool TakeField(const std::string &message, size_t *at, uint64_t *number, size_t *body,
               uint64_t *body_bytes) {
  uint64_t tag, skipped;
  if (!TakeVarint(message, at, &tag)) return false;
  *number = tag >> 3;
  *body_bytes = 0;
  if ((tag & 7) == 0) return TakeVarint(message, at, &skipped);
  if ((tag & 7) == 5) *body_bytes = 4;
  if ((tag & 7) == 2 && !TakeVarint(message, at, body_bytes)) return false;
  *body = *at;
  if (*body_bytes > message.size() - *at) return false;
  *at += *body_bytes;
  return (tag & 7) == 2 || (tag & 7) == 5;
}

/* A copy of the message: of the fields of a TrainerSpec without input_format (7) and
 * character_coverage (10), of others all. How the text reached the trainer is no part of a model:
 * "tsv" and 1.0 would say something else than the truth, and the bytes stay those of a model that
 * was trained on the plain text. */
std::string WithoutInput(const std::string &message, bool is_spec) {
  std::string kept;
  uint64_t number, body_bytes;
  for (size_t at = 0, begin = 0, body = 0; TakeField(message, &at, &number, &body, &body_bytes);
       begin = at) {
    if (is_spec && (number == 7 || number == 10)) continue;
    if (is_spec || number != 2) {
      kept.append(message, begin, at - begin);
      continue;
    }
    const std::string spec = WithoutInput(message.substr(body, body_bytes), true);
    kept += '\x12';
    PutVarint(spec.size(), &kept);
    kept += spec;
  }
  return kept;
}

/* --- the text --- */

struct Reading {
  Words words;
  lap_sample sample;
  lap_tokenizer_report *report;
};

/* A document longer than this is drawn in parts: one book alone is a sample too. */
const size_t kSampleBlock = 64 << 10;

lap_code AddToSample(void *context, const char *text, size_t bytes, lap_status *) {
  lap_sample_add(static_cast<lap_sample *>(context), text, bytes);
  return LAP_OK;
}

lap_code Read(void *context, bool held_out, const char *text, size_t bytes, lap_status *status) {
  auto *reading = static_cast<Reading *>(context);
  if (held_out) return LAP_OK;
  reading->report->bytes += bytes;
  if (reading->sample.limit > 0) {
    const size_t block = std::min<uint64_t>(kSampleBlock, reading->sample.limit / 16 + 64);
    return lap_document_blocks(text, bytes, block, AddToSample, &reading->sample, status);
  }
  reading->words.Add(text, bytes);
  return LAP_OK;
}

/* Counts the words of the sample, which is then let go. */
void CountSample(Reading *reading) {
  lap_sample *sample = &reading->sample;
  if (sample->limit == 0) return;
  for (size_t i = 0; i < sample->count; ++i)
    reading->words.Add(sample->blocks[i].text, sample->blocks[i].bytes);
  if (sample->bytes < sample->seen_bytes) reading->report->sampled_of = sample->seen_bytes;
  reading->report->bytes = sample->bytes;
  lap_sample_release(sample);
}

lap_code ReadText(const lap_split *split, Reading *reading, lap_status *status) {
  lap_code code =
      lap_split_visit(split, "read the text", Read, reading, &reading->report->findings, status);
  if (code == LAP_OK && reading->report->bytes == 0)
    code = lap_findings_no_text(&reading->report->findings, &split->source, status);
  if (code != LAP_OK) {
    lap_sample_release(&reading->sample);
    return code;
  }
  CountSample(reading);
  reading->report->words = reading->words.counts().size();
  if (reading->report->words == 0)
    return lap_fail(status, LAP_DATA, "the texts hold nothing but line breaks");
  return LAP_OK;
}

lap_code Learn(const lap_tokenizer_training &training, const Words &words,
               lap_tokenizer_report *report, std::string *model, lap_status *status) {
  uint64_t total;
  const auto characters = CountCharacters(words, &total);
  LAP_TRY(ChooseCharacters(training, characters, total, report, status));
  const uint64_t unlearned = kFixedPieces + report->character_pieces;
  if (training.vocab_size > unlearned && !HasPairs(words, characters, report->character_pieces))
    return TooLarge(training.vocab_size, unlearned, status);
  WordIterator iterator(words, characters, report->character_pieces);
  const TrainerLog log(training.text.hook, training.vocab_size - unlearned);
  const auto result =
      spm::SentencePieceTrainer::Train(TrainerOptions(training.vocab_size), &iterator, model);
  if (!result.ok()) return ExplainTrainer(result.message(), training.vocab_size, status);
  *model = WithoutInput(*model, false);
  return LAP_OK;
}

lap_code TrainModel(const lap_tokenizer_training &training, lap_tokenizer_report *report,
                    std::string *model, lap_status *status) {
  Reading reading = {};
  reading.report = report;
  reading.sample.seed = training.text.seed;
  reading.sample.limit = training.sample_bytes;
  lap_split_options text = training.text;
  text.in_parts = true;
  lap_split split;
  LAP_TRY(lap_split_open(&text, &split, status));
  const lap_code code = ReadText(&split, &reading, status);
  lap_split_close(&split);
  return code == LAP_OK ? Learn(training, reading.words, report, model, status) : code;
}

lap_code CheckOptions(const lap_tokenizer_training &training, lap_status *status) {
  if (training.vocab_size < kSmallestVocabulary || training.vocab_size > LAP_MODEL_MAX_PIECES)
    return lap_fail(status, LAP_USAGE, "a vocabulary of %u: expected %u to %d", training.vocab_size,
                    kSmallestVocabulary, LAP_MODEL_MAX_PIECES);
  if (!(training.character_coverage >= 0 && training.character_coverage <= 1))
    return lap_fail(status, LAP_USAGE, "character-coverage: expected above 0 up to 1, found %g",
                    training.character_coverage);
  return LAP_OK;
}

}  // namespace

lap_code lap_tokenizer_train(const lap_tokenizer_training *training, lap_tokenizer_report *report,
                             lap_status *status) {
  lap_tokenizer_report unwanted;
  if (!report) report = &unwanted;
  *report = {};
  LAP_TRY(CheckOptions(*training, status));
  try {
    std::string model;
    LAP_TRY(TrainModel(*training, report, &model, status));
    lap_tokenizer_model checked;
    if (lap_tokenizer_model_parse(model.data(), model.size(), &checked, status) != LAP_OK)
      return lap_fail_context(status, "%s: the trained model", training->out);
    lap_tokenizer_model_release(&checked);
    lap_file_remove_temporaries(training->out);
    return lap_file_write(training->out, model.data(), model.size(), status);
  } catch (const std::bad_alloc &) {
    return lap_fail(status, LAP_USAGE, "out of memory in SentencePiece; take a smaller --sample");
  } catch (const std::exception &error) {
    return lap_fail(status, LAP_DATA, "SentencePiece: %s", error.what());
  }
}
