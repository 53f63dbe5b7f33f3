<?php

declare(strict_types=1);

namespace Relay\Check;

use Relay\Exception\InvalidOption;
use Relay\Options;
use Relay\Url;

/**
 * What relay-check was asked to do.
 */
final class Arguments
{
    public const USAGE = <<<'TEXT'
        Usage: relay-check [OPTIONS] URL

        Checks the way to a relay step by step, and says what is wrong and what to try.
        URL: tcp://HOST:PORT, ssl://HOST:PORT, ws://HOST[:PORT][/PATH] or wss://HOST[:PORT][/PATH]

          --cafile FILE    trust the certificates in this PEM file
          --insecure       trust any certificate
          --ident NAME     connect under this name, and check that it is reached
          --uuid UUID      send feedback to the page with this uuid
          --header 'N: V'  one more line for the handshake; may be repeated
          --no-echo        for a relay whose script has no opcode echo
          --timeout S      seconds for each step (5)
          --help

        Exit codes: 0 all is well, 64 usage, 69 no connection, 76 what answers is no relay,
        77 a certificate that is not trusted, or a name that is taken

        TEXT;

    /** Options that take a value. */
    private const VALUES = ['--cafile', '--ident', '--uuid', '--header', '--timeout'];

    private function __construct(
        public readonly Url $url,
        public readonly Options $options,
        public readonly ?string $uuid,
        public readonly bool $echo,
        public readonly bool $wantsHelp,
    ) {
    }

    /**
     * @param list<string> $arguments
     *
     * @throws InvalidOption
     */
    public static function parse(array $arguments): self
    {
        $given = ['--header' => []];
        $url = null;
        while (($argument = array_shift($arguments)) !== null) {
            if ($argument === '-h' || $argument === '--help') {
                return new self(Url::parse('tcp://localhost:1'), new Options(), null, true, true);
            }
            if (!str_starts_with($argument, '-')) {
                if ($url !== null) {
                    throw new InvalidOption('one URL at a time');
                }
                $url = $argument;
                continue;
            }
            [$name, $value] = explode('=', $argument, 2) + [1 => null];
            if (in_array($name, self::VALUES, true)) {
                $value ??= array_shift($arguments) ?? throw new InvalidOption("$name needs a value");
            } elseif (!in_array($name, ['--insecure', '--no-echo'], true) || $value !== null) {
                throw new InvalidOption("there is no option $argument");
            }
            if ($name === '--header') {
                $given[$name][] = $value;
            } else {
                $given[$name] = $value ?? true;
            }
        }
        if ($url === null) {
            throw new InvalidOption('which relay? A URL is missing');
        }
        $seconds = $given['--timeout'] ?? '5';
        if (!is_numeric($seconds)) {
            throw new InvalidOption('--timeout is a number of seconds');
        }
        $cafile = $given['--cafile'] ?? null;
        if ($cafile !== null && !is_readable($cafile)) {
            throw new InvalidOption("--cafile: $cafile cannot be read");
        }
        $options = new Options(
            ident: $given['--ident'] ?? null,
            connectTimeout: (float) $seconds,
            timeout: (float) $seconds,
            headers: self::headers($given['--header']),
            cafile: $cafile,
            verify: !isset($given['--insecure']),
        );
        return new self(Url::parse($url), $options, $given['--uuid'] ?? null, !isset($given['--no-echo']), false);
    }

    /**
     * The same for a look at a certificate that is not trusted.
     */
    public function unchecked(): Options
    {
        return new Options(timeout: $this->options->timeout, peerName: $this->options->peerName, verify: false);
    }

    /**
     * @param list<string> $lines
     *
     * @return array<string, string>
     */
    private static function headers(array $lines): array
    {
        $headers = [];
        foreach ($lines as $line) {
            [$name, $value] = explode(':', $line, 2) + [1 => null];
            if ($value === null) {
                throw new InvalidOption("--header: \"$line\" is not of the form 'Name: value'");
            }
            $headers[$name] = trim($value);
        }
        return $headers;
    }
}
