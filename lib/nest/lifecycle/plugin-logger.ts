import { Logger } from '@nestjs/common';

/** Nest's logger for a plugin that ships with the package, under the plugin's name. */
export function pluginLogger(name: string): Logger {
  return new Logger(name);
}
