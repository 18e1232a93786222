#pragma once

#include <string>

namespace tenon {

// One line of an engine's log.
struct LogRecord {
  int severity = 0;  // 0 verbose, 1 info, 2 warning, 3 error, 4 fatal
  std::string category;
  std::string log_id;    // the session's, or the environment's
  std::string location;  // file, line and function in the engine
  std::string message;
};

// Where an engine's log goes. Write is called on any of the engine's threads,
// also in the middle of a run: it must neither block nor call the engine.
class LogSink {
 public:
  virtual ~LogSink() = default;
  LogSink(const LogSink&) = delete;
  LogSink& operator=(const LogSink&) = delete;

  virtual void Write(LogRecord record) = 0;

 protected:
  LogSink() = default;
};

}  // namespace tenon
