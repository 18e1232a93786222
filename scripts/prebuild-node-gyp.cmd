@node "%~dp0prebuild-node-gyp.mjs" %*
