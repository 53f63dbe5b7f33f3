<?php

declare(strict_types=1);

namespace Relay\Tests;

use Relay\Options;

/**
 * A real relay with the shipped config and script, on a port of its own. RELAY_BIN names the binary.
 */
final class Relay
{
    public readonly int $port;
    public readonly string $directory;
    private Process $process;

    /**
     * @param list<string> $flags
     */
    public function __construct(array $flags = [], int $port = 0)
    {
        $root = dirname(__DIR__, 3);
        $binary = getenv('RELAY_BIN') ?: "$root/target/debug/relay";
        if (!is_executable($binary)) {
            throw new \RuntimeException("there is no relay at $binary: build it, or set RELAY_BIN");
        }
        // Certificates are made once, and not among those of the person who runs this.
        $this->directory = sys_get_temp_dir() . '/relay-php-tests-' . getmypid();
        if (!is_dir($this->directory)) {
            mkdir($this->directory, 0700);
            register_shutdown_function(fn () => self::remove($this->directory));
        }
        $this->process = new Process([
            $binary, '--config', "$root/relay.toml", '--listen', "any://127.0.0.1:$port",
            '--set', "tls.directory=\"$this->directory\"", ...$flags,
        ]);
        $line = $this->process->line();
        if (preg_match('#\Alistening on any://127\.0\.0\.1:(\d+)\z#', $line, $found) !== 1) {
            throw new \RuntimeException("the relay says \"$line\"");
        }
        $this->port = (int) $found[1];
    }

    public function url(string $scheme, string $target = ''): string
    {
        return "$scheme://localhost:$this->port$target";
    }

    public function cafile(): string
    {
        return "$this->directory/dev-cert.pem";
    }

    /**
     * Options that trust this relay; the timeouts are long, so that a slow machine fails no test.
     */
    public function options(mixed ...$more): Options
    {
        return new Options(...$more + [
            'cafile' => $this->cafile(),
            'connectTimeout' => Process::DEADLINE,
            'timeout' => Process::DEADLINE,
        ]);
    }

    public function kill(int $signal = 9): void
    {
        $this->process->kill($signal);
    }

    public function signal(int $signal): void
    {
        $this->process->signal($signal);
    }

    private static function remove(string $directory): void
    {
        foreach (['dev-cert.pem', 'dev-key.pem', '.lock'] as $file) {
            if (is_file("$directory/$file")) {
                unlink("$directory/$file");
            }
        }
        rmdir($directory);
    }
}
