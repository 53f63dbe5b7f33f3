<?php

declare(strict_types=1);

require __DIR__ . '/../autoload.php';

use Relay\Options;
use Relay\Url;

/**
 * Where work.php finds the relay: RELAY_URL, with any of the four schemes. Only whoever starts the
 * server says so. If a request could, anybody could have this machine connect to where they like.
 */
function relay_url(): string
{
    return getenv('RELAY_URL') ?: 'tcp://127.0.0.1:8083';
}

function relay_options(): Options
{
    return new Options(cafile: relay_cafile());
}

/**
 * RELAY_CAFILE, relative to where the server was started, or else to the top of the repository. The
 * server works in the directory of the script that it runs; where it was, the shell has left in PWD.
 */
function relay_cafile(): ?string
{
    $file = getenv('RELAY_CAFILE') ?: null;
    if ($file === null || str_starts_with($file, '/')) {
        return $file;
    }
    foreach ([getenv('PWD') ?: '', dirname(__DIR__, 3)] as $directory) {
        if ($directory !== '' && is_file("$directory/$file")) {
            return "$directory/$file";
        }
    }
    return $file;
}

/**
 * How long a step of the work takes, more or less: all sixty some 22 s, or as DEMO_STEP_MS says.
 */
function step_microseconds(): int
{
    $milliseconds = getenv('DEMO_STEP_MS');
    return 1000 * (is_numeric($milliseconds) ? max(0, min(1000, (int) $milliseconds)) : 375);
}

/**
 * Where the page finds it: the query's `relay`, or the same relay as work.php, as a WebSocket.
 */
function page_url(): Url
{
    $asked = $_GET['relay'] ?? '';
    $url = Url::parse(is_string($asked) && $asked !== '' ? $asked : relay_url());
    $scheme = $url->hasTls() ? 'wss' : 'ws';
    $target = $url->isWebSocket() && $url->target !== '' ? $url->target : '/web';
    return Url::parse("$scheme://" . $url->authority() . $target);
}
